"""Dynamic temperature knowledge distillation (Wei and Bai, arXiv 2404.12711, 2024), as in the authors' code [code].

The temperatures are `temperature=dtkd`, which goes with any method that has a temperature.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.kd import kd
from kd_experiments.schema import NonNegative, Positive


@DISTILLERS.register("dtkd")
class DTKD(LogitDistiller):
    """alpha * KD at the run's temperatures + beta * KD at one temperature for all."""

    term: ClassVar[str] = "dtkd"
    uses_temperature: ClassVar[bool] = True

    def __init__(self, alpha: NonNegative, beta: NonNegative, plain_temperature: Positive) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.plain_temperature = plain_temperature

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student, targets = batch.student.logits, batch.targets
        t, plain = batch.temperature, self.plain_temperature
        return self.alpha * kd(student, targets.at(t), t) + self.beta * kd(student, targets.at(plain), plain)
