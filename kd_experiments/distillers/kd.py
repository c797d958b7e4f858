"""Knowledge distillation (Hinton, Vinyals and Dean 2015)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.supervision.revision import TemperatureValue, column


def kd(student: Tensor, teacher: Tensor, temperature: TemperatureValue) -> Tensor:
    """T^2 * KL(softmax(z^t / T) || softmax(z^s / T)) for each sample: (B, C), (B, C), () or (B,) -> (B,)."""
    t = column(temperature)
    log_p = torch.log_softmax(teacher / t, 1)
    log_q = torch.log_softmax(student / t, 1)
    return temperature**2 * (log_p.exp() * (log_p - log_q)).sum(1)


def standardise(logits: Tensor) -> Tensor:
    """(z - mean) / (std + 1e-7) over the classes, std unbiased, (B, C) -> (B, C).

    Sun et al., "Logit standardization in knowledge distillation", CVPR 2024: the student is free to choose the range
    and the variance of its logits. `method.standardise` applies it to any method that compares logits.
    """
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)


@DISTILLERS.register("kd")
class KD(LogitDistiller):
    """Match the source's softened distribution; with per-sample temperatures each sample has its own T^2."""

    term: ClassVar[str] = "kd"
    uses_temperature: ClassVar[bool] = True

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        return kd(batch.student.logits, batch.targets.logits, batch.temperature)
