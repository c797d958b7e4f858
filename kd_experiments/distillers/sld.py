"""Swapped logit distillation (Limantoro et al., Multimedia Systems 31(3), 2025, arXiv 2504.20108).

Formula and defaults as in the authors' code [code]; to swap both and to schedule the second teacher is [paper].
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, refuse_empty
from kd_experiments.distillers.kd import kd
from kd_experiments.schema import Fraction, Positive
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import ProbabilityShift, TemperatureValue


@full_precision
def pseudo_teacher(student: Tensor, labels: Tensor, temperature: TemperatureValue, detached: bool) -> Tensor:
    """T^2 * KL of the student's own prediction, put right, against it, (B, C) -> (B,).

    On the rows the student gets wrong label and arg max are swapped; the others cost nothing.
    """
    corrected = ProbabilityShift()(student, labels)
    return kd(student, corrected.detach() if detached else corrected, temperature)


def started(progress: Progress, share: float) -> Tensor:
    """1 from the epoch after `share` of all, () float; 150 of 240 in the public code, where it is a literal [code]."""
    return (progress.epoch >= share * progress.epochs - 0.5).to(progress.epoch.dtype)


@DISTILLERS.register("sld")
class SLD(Distiller):
    """KD of both views at several temperatures, and from late on the student's own corrected prediction as a teacher.

    The teacher's swap is `revision=probability_shift`. `relative_temperatures` multiply `method.temperature`, and so
    every sample's own [ours]. In the public code the gradient runs through the pseudo-teacher too; `detached` keeps it
    fixed.
    """

    needs_second_view: ClassVar[bool] = True
    uses_temperature: ClassVar[bool] = True

    def __init__(
        self,
        relative_temperatures: tuple[Positive, ...],
        pseudo_teacher_from: Fraction,
        pseudo_teacher_detached: bool,
    ) -> None:
        super().__init__()
        refuse_empty("method.relative_temperatures", relative_temperatures, "[1.0]")
        self.relative_temperatures = relative_temperatures
        self.pseudo_teacher_from = pseudo_teacher_from
        self.pseudo_teacher_detached = pseudo_teacher_detached

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        assert batch.second is not None, "the distiller asks for a second view"
        from_teacher, from_itself = [], []
        for view in (batch, batch.second):
            student = view.student.logits
            for t in map(view.temperature.times, self.relative_temperatures):
                from_teacher.append(batch.weights.mean(kd(student, view.targets.at(t), t)))
                own = pseudo_teacher(student, batch.labels, t.student, self.pseudo_teacher_detached)
                from_itself.append(batch.weights.mean(own))
        late = started(batch.progress, self.pseudo_teacher_from)
        return {"sld": torch.stack(from_teacher).sum(), "sld_self": late * torch.stack(from_itself).sum()}
