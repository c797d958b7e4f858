"""Flow of solution procedure.

Yim et al., "A gift from knowledge distillation: fast optimization, network minimization and transfer learning", CVPR
2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, per_sample_mean, same_size, source_of
from kd_experiments.errors import UserError
from kd_experiments.networks import Output
from kd_experiments.schema import Epochs
from kd_experiments.supervision.precision import full_precision


@full_precision
def flow(bottom: Tensor, top: Tensor) -> Tensor:
    """FSP matrix of two stages, mean over places of f_i g_j, (B, C, H, W), (B, D, H', W') -> (B, C, D)."""
    bottom, top = (maps.flatten(2) for maps in same_size(bottom, top))
    return torch.bmm(bottom, top.transpose(1, 2)) / bottom.shape[2]


@full_precision
def fsp(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Sum over neighbouring stages of the mean of (G^s - G^t)^2, -> (B,)."""
    losses = [
        per_sample_mean((flow(*ours) - flow(*theirs)).square())
        for ours, theirs in zip(pairwise(student), pairwise(teacher), strict=True)
    ]
    return torch.stack(losses).sum(0)


@DISTILLERS.register("fsp")
class FSP(Distiller):
    """The student is initialised with the teacher's flow from stage to stage, the stem included.

    Paper and public benchmark train with the label alone afterwards; `after_initialisation` keeps the loss.
    """

    needs: ClassVar[Needs] = "features"

    def __init__(self, initialisation_epochs: Epochs, after_initialisation: bool) -> None:
        super().__init__()
        self.initialisation_epochs = initialisation_epochs
        self.after_initialisation = after_initialisation

    def build_modules(self, student: Output, source: Output) -> None:
        pairs = deepest(student.features, source.features, stem=True)
        ours, theirs = ([maps.shape[1] for maps in side] for side in zip(*pairs, strict=True))
        if ours != theirs:
            raise UserError(
                f"method=fsp: it compares networks whose stages are equally wide, but the student's have {ours} "
                f"channels and the teacher's {theirs}; choose another pair, such as teacher=resnet20 student=resnet8"
            )

    def deepest_stage(self, stages: int, initialising: bool) -> int | None:
        return stages - 1 if initialising or self.after_initialisation else None

    def initialise(self, batch: DistillationBatch) -> dict[str, Tensor]:
        student, teacher = zip(*deepest(batch.student.features, source_of(batch).features, stem=True), strict=True)
        return {"fsp": batch.weights.mean(fsp(student, teacher))}

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        return self.initialise(batch) if self.after_initialisation else {}
