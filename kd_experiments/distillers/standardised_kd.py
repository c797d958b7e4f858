"""KD on standardised logits (Sun et al., "Logit standardization in knowledge distillation", CVPR 2024)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, Lesson, LogitDistiller
from kd_experiments.distillers.kd import kd


def standardise(logits: Tensor) -> Tensor:
    """(z - mean) / (std + 1e-7) over the classes, std unbiased, (B, C) -> (B, C)."""
    return (logits - logits.mean(1, keepdim=True)) / (logits.std(1, keepdim=True) + 1e-7)


@DISTILLERS.register("standardised_kd")
class StandardisedKD(LogitDistiller):
    """KD of z-scores: the student is free to choose the range and the variance of its logits."""

    term: ClassVar[str] = "kd"
    uses_temperature: ClassVar[bool] = True

    def per_sample(self, lesson: Lesson) -> Tensor:
        return kd(standardise(lesson.student.logits), standardise(lesson.signal.logits), lesson.temperature)
