"""KD beside the correction of Cao et al., "Be an excellent student: review, preview, and correction", IEEE SPL 2023.

Formula as in a public re-implementation [code].
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller
from kd_experiments.distillers.dkd import class_mask
from kd_experiments.distillers.kd import kd
from kd_experiments.schema import NonNegative
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue


@full_precision
def correction(student: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
    """T^2 * KL(corrected || student), (B, C) -> (B,): the target is the student's own prediction, put right.

    z~ = z without gradient, except z~_y = z_y + max z.
    """
    own = student.detach()
    corrected = own + own.amax(1, keepdim=True) * class_mask(own, labels)
    return kd(student, corrected, temperature)


@DISTILLERS.register("rc")
class RC(Distiller):
    """KD + correction_weight * correction."""

    uses_temperature: ClassVar[bool] = True

    def __init__(self, correction_weight: NonNegative) -> None:
        super().__init__()
        self.correction_weight = correction_weight

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        student, t = batch.student.logits, batch.temperature
        corrected = correction(student, batch.labels, t.student)  # both predictions are the student's
        return {
            "kd": batch.weights.mean(kd(student, batch.targets.at(t), t)),
            "rc": self.correction_weight * batch.weights.mean(corrected),
        }
