"""Refined logit distillation (Sun et al., "Knowledge distillation with refined logits", ICCV 2025)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.dkd import LEFT_OUT, class_mask, one_against_rest
from kd_experiments.distillers.kd import divergence, kd
from kd_experiments.schema import NonNegative, Positive
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue
from kd_experiments.supervision.temperature import Temperatures


@full_precision
def sample_confidence(student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """SCD: T^2 * KL({p^t_max, rest} || {p^s_y, rest}), (B, C) -> (B,): as sure of y as the teacher of its arg max."""
    top_of_teacher = one_against_rest(teacher / temperature, class_mask(teacher, teacher.argmax(1)))
    return temperature**2 * divergence(
        top_of_teacher, one_against_rest(student / temperature, class_mask(student, labels))
    )


@full_precision
def masked_correlation(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: TemperatureValue | Temperatures
) -> Tensor:
    """MCD: T^2 * KL among the classes the teacher ranks below the label, (B, C) -> (B,); 0 where there is none."""
    masked = teacher >= teacher.gather(1, labels[:, None])
    return kd(student.masked_fill(masked, LEFT_OUT), teacher.masked_fill(masked, LEFT_OUT), temperature)


@DISTILLERS.register("rld")
class RLD(LogitDistiller):
    """alpha * SCD (at its own temperature) + beta * MCD: no wrong prediction is taught, no class relation invented."""

    term: ClassVar[str] = "rld"
    uses_temperature: ClassVar[bool] = True

    def __init__(self, alpha: NonNegative, beta: NonNegative, alpha_temperature: Positive) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.alpha_temperature = alpha_temperature

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student, targets, labels = batch.student.logits, batch.targets, batch.labels
        alpha_t, t = self.alpha_temperature, batch.temperature
        confidence = sample_confidence(student, targets.at(alpha_t), labels, alpha_t)
        relation = masked_correlation(student, targets.at(t), labels, t)
        return self.alpha * confidence + self.beta * relation
