"""Activation boundaries.

Heo et al., "Knowledge transfer via distillation of activation boundaries formed by hidden neurons", AAAI 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import Regressor, deepest, source_of
from kd_experiments.networks import Output
from kd_experiments.schema import Epochs, NonNegative
from kd_experiments.supervision.precision import full_precision


@full_precision
def boundary(student: Tensor, teacher: Tensor, margin: float) -> Tensor:
    """Squared distance by which a neuron misses the margin on the teacher's side, summed, (B, C, H, W) -> (B,).

    max(0, f^s + m)^2 where the teacher's neuron is silent (f^t <= 0), max(0, m - f^s)^2 where it fires.
    """
    return torch.where(teacher > 0, margin - student, student + margin).clamp_min(0).square().flatten(1).sum(1)


@full_precision
def ab(student: Sequence[Tensor], teacher: Sequence[Tensor], margin: float) -> Tensor:
    """3/1000 * sum over levels l = 1..L of 2^(l - L) * boundary loss, -> (B,); the public benchmark's scales [code]."""
    losses = [boundary(s, t, margin) for s, t in zip(student, teacher, strict=True)]
    return 3 / 1000 * torch.stack([loss / 2**level for level, loss in enumerate(reversed(losses))]).sum(0)


@DISTILLERS.register("ab")
class AB(Distiller):
    """The student is initialised so that its neurons fire where the teacher's fire, seen before the ReLU.

    Paper and public benchmark train with the label alone afterwards; `after_initialisation` keeps the loss.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(
        self,
        margin: NonNegative,
        initialisation_epochs: Epochs,
        after_initialisation: bool,
    ) -> None:
        super().__init__()
        self.margin = margin
        self.initialisation_epochs = initialisation_epochs
        self.after_initialisation = after_initialisation

    def build_modules(self, student: Output, source: Output) -> None:
        self.connectors = nn.ModuleList(
            nn.Identity() if s.shape == t.shape else Regressor(s, t, relu=False)
            for s, t in deepest(student.preactivations, source.preactivations)
        )

    def deepest_stage(self, stages: int, initialising: bool) -> int | None:
        return stages - 1 if initialising or self.after_initialisation else None

    def initialise(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = deepest(batch.student.preactivations, source_of(batch).preactivations)
        student = [connect(s) for connect, (s, _) in zip(self.connectors, pairs, strict=True)]
        return {"ab": batch.weights.mean(ab(student, [t for _, t in pairs], self.margin))}

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        return self.initialise(batch) if self.after_initialisation else {}
