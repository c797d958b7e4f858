"""Transformed teacher matching.

Zheng and Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024, arXiv 2402.11148; formulas as
in the authors' code [code].
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.kd import divergence, softened
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue, column


@full_precision
def ttm(student: Tensor, teacher: Tensor, temperature: TemperatureValue) -> Tensor:
    """KL(softmax(z^t / T) || softmax z^s) for each sample, (B, C) -> (B,): the student stays at T = 1, no T^2."""
    return divergence(softened(teacher, temperature), torch.log_softmax(student, 1))


@full_precision
def power_sum(teacher: Tensor, temperature: TemperatureValue) -> Tensor:
    """U = sum over classes of softmax(z^t)^(1 / T), (B, C) -> (B,): from 1 for a sure teacher to C^(1 - 1 / T)."""
    return (torch.log_softmax(teacher, 1) / column(temperature)).logsumexp(1).exp()


@DISTILLERS.register("ttm")
class TTM(LogitDistiller):
    """Only the teacher is softened, by the power 1 / T of its probabilities; `weighted` multiplies a sample by U.

    U is not normalised over the batch, so that the weighted and the plain form are on different scales [code].
    """

    term: ClassVar[str] = "ttm"
    uses_temperature: ClassVar[bool] = True

    def __init__(self, weighted: bool) -> None:
        super().__init__()
        self.weighted = weighted

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        t = batch.temperature.teacher
        teacher = batch.targets.at(t)
        losses = ttm(batch.student.logits, teacher, t)
        return power_sum(teacher, t) * losses if self.weighted else losses
