"""Decoupled knowledge distillation (Zhao et al., "Decoupled knowledge distillation", CVPR 2022)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.kd import kd
from kd_experiments.schema import NonNegative
from kd_experiments.supervision.revision import TemperatureValue, column

LEFT_OUT = -1e30  # a logit so low that its class has probability exactly 0, and yet finite: 0 * (-inf) would be NaN


def class_mask(logits: Tensor, classes: Tensor) -> Tensor:
    """True at one class of each row: (B, C), (B,) -> (B, C) bool."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes[:, None], True)


def one_against_rest(logits: Tensor, one: Tensor) -> Tensor:
    """Log-probabilities of the class in the mask `one` and of all others together, (B, C) -> (B, 2)."""
    log_p = torch.log_softmax(logits, 1)
    inside = log_p.masked_fill(~one, -torch.inf).logsumexp(1)
    return torch.stack([inside, log_p.masked_fill(one, -torch.inf).logsumexp(1)], 1)


def divergence(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) from log-probabilities, (B, K) -> (B,)."""
    return (log_p.exp() * (log_p - log_q)).sum(1)


def dkd(
    student: Tensor, teacher: Tensor, labels: Tensor, alpha: float, beta: float, temperature: TemperatureValue
) -> Tensor:
    """T^2 * (alpha * TCKD + beta * NCKD) for each sample, (B, C) -> (B,).

    TCKD = KL(b^t || b^s) of the label against all other classes, NCKD = KL of the other classes among themselves.
    """
    t, label = column(temperature), class_mask(student, labels)
    target = divergence(one_against_rest(teacher / t, label), one_against_rest(student / t, label))
    others = kd(student.masked_fill(label, LEFT_OUT), teacher.masked_fill(label, LEFT_OUT), temperature)
    return alpha * temperature**2 * target + beta * others


@DISTILLERS.register("dkd")
class DKD(LogitDistiller):
    """Target and non-target classes apart."""

    term: ClassVar[str] = "dkd"
    uses_temperature: ClassVar[bool] = True

    def __init__(self, alpha: NonNegative, beta: NonNegative) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student, teacher = batch.student.logits, batch.targets.logits
        return dkd(student, teacher, batch.labels, self.alpha, self.beta, batch.temperature)
