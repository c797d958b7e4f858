"""Squared errors of LRDS's loss with lambdas (the form of the public re-implementation [code])."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.supervision.precision import full_precision


@full_precision
def logit_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over classes of (z^s - z^t)^2, (B, C) -> (B,)."""
    return (student - teacher).square().mean(1)


@full_precision
def probability_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over classes of (softmax z^s - softmax z^t)^2, (B, C) -> (B,); at most 2/C."""
    return (torch.softmax(student, 1) - torch.softmax(teacher, 1)).square().mean(1)


@DISTILLERS.register("logit_mse")
class LogitMSE(LogitDistiller):
    """Logits are matched on rows the source gets right, probabilities at T = 1 on rows that were revised.

    A row that is wrong but not revised is matched like a right one: without revision this is plain logit matching, the
    control that LRDS is to be compared with.
    """

    term: ClassVar[str] = "mse"

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student, targets = batch.student.logits, batch.targets
        return torch.where(
            targets.revised, probability_mse(student, targets.at(1.0)), logit_mse(student, targets.at(1.0))
        )
