"""Knowledge distillation (Hinton, Vinyals and Dean 2015)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue, column
from kd_experiments.supervision.temperature import Temperatures


def softened(logits: Tensor, temperature: TemperatureValue) -> Tensor:
    """log softmax(z / T), (B, C), () or (B,) -> (B, C)."""
    return torch.log_softmax(logits / column(temperature), 1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) from log-probabilities, (B, K) -> (B,)."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


@full_precision
def kd(student: Tensor, teacher: Tensor, temperature: TemperatureValue | Temperatures) -> Tensor:
    """T^2 * KL(softmax(z^t / T) || softmax(z^s / T)) for each sample: (B, C), (B, C), () or (B,) -> (B,)."""
    t = Temperatures.of(temperature)
    return t.scale * divergence(softened(teacher, t.teacher), softened(student, t.student))


@DISTILLERS.register("kd")
class KD(LogitDistiller):
    """Match the source's softened distribution; with per-sample temperatures each sample has its own T^2."""

    term: ClassVar[str] = "kd"
    uses_temperature: ClassVar[bool] = True

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        return kd(batch.student.logits, batch.targets.at(batch.temperature), batch.temperature)
