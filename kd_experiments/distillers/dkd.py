"""Decoupled knowledge distillation (Zhao et al., "Decoupled knowledge distillation", CVPR 2022)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.kd import divergence, kd
from kd_experiments.errors import UserError
from kd_experiments.schema import NonNegative
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue, column
from kd_experiments.supervision.temperature import Temperatures

# A logit so low that its class has probability exactly 0, and yet finite over any temperature: 0 * (-inf) is NaN.
LEFT_OUT = -1e20


def class_mask(logits: Tensor, classes: Tensor) -> Tensor:
    """True at one class of each row: (B, C), (B,) -> (B, C) bool."""
    return torch.zeros_like(logits, dtype=torch.bool).scatter(1, classes[:, None], True)


def one_against_rest(logits: Tensor, one: Tensor) -> Tensor:
    """Log-probabilities of the class in the mask `one` and of all others together, (B, C) -> (B, 2)."""
    log_p = torch.log_softmax(logits, 1)
    inside = log_p.masked_fill(~one, -torch.inf).logsumexp(1)
    return torch.stack([inside, log_p.masked_fill(one, -torch.inf).logsumexp(1)], 1)


@full_precision
def dkd(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    alpha: float,
    beta: float,
    temperature: TemperatureValue | Temperatures,
) -> Tensor:
    """T^2 * (alpha * TCKD + beta * NCKD) for each sample, (B, C) -> (B,).

    TCKD = KL(b^t || b^s) of the label against all other classes, NCKD = KL of the other classes among themselves.
    """
    t, label = Temperatures.of(temperature), class_mask(student, labels)
    target = divergence(
        one_against_rest(teacher / column(t.teacher), label), one_against_rest(student / column(t.student), label)
    )
    others = kd(student.masked_fill(label, LEFT_OUT), teacher.masked_fill(label, LEFT_OUT), t)
    return alpha * t.scale * target + beta * others


@DISTILLERS.register("dkd")
class DKD(LogitDistiller):
    """Target and non-target classes apart."""

    term: ClassVar[str] = "dkd"
    uses_temperature: ClassVar[bool] = True

    def __init__(self, alpha: NonNegative, beta: NonNegative) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def inspect_labels(self, labels: Tensor, classes: int) -> None:
        if classes < 3:
            raise UserError(
                f"method.distiller=dkd: of {classes} classes too few are left to compare beside the label's; choose "
                f"another method, such as method=kd"
            )

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student, teacher, t = batch.student.logits, batch.targets.at(batch.temperature), batch.temperature
        return dkd(student, teacher, batch.labels, self.alpha, self.beta, t)
