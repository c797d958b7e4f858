"""Tf-KD_reg (Yuan et al., "Revisiting knowledge distillation via label smoothing regularization", CVPR 2020)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.dkd import class_mask
from kd_experiments.distillers.kd import divergence, softened
from kd_experiments.schema import Interval
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue


def virtual_teacher(logits: Tensor, labels: Tensor, correct: float) -> Tensor:
    """A teacher that is always right: probability `correct` on the label, the rest shared alike, (B, C)."""
    rest = torch.full_like(logits, (1 - correct) / (logits.shape[1] - 1))
    return torch.where(class_mask(logits, labels), correct, rest)


@full_precision
def tfkd_reg(student: Tensor, labels: Tensor, correct: float, temperature: TemperatureValue) -> Tensor:
    """KL(softmax(u / T) || softmax(z^s)) for each sample, (B, C) -> (B,), u the virtual teacher's *probabilities*.

    As in the official code [code]: the temperature softens the probabilities themselves, the student stays at T = 1.
    """
    target = softened(virtual_teacher(student, labels, correct), temperature)
    return divergence(target, torch.log_softmax(student, 1))


@DISTILLERS.register("tfkd_reg")
class TfKDReg(LogitDistiller):
    """A hand-made teacher of the label alone; there is no network behind it."""

    term: ClassVar[str] = "kd"
    needs_source: ClassVar[bool] = False
    uses_temperature: ClassVar[bool] = True

    def __init__(self, correct: Annotated[float, Interval(over=0, under=1)]) -> None:
        super().__init__()
        self.correct = correct

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        return tfkd_reg(batch.student.logits, batch.labels, self.correct, batch.temperature.teacher)
