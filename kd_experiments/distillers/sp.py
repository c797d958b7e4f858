"""Similarity preserving (Tung and Mori, "Similarity-preserving knowledge distillation", ICCV 2019)."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import source_of
from kd_experiments.distillers.relations import counted, pairs
from kd_experiments.supervision.precision import full_precision


def similarity(maps: Tensor, taught: Tensor) -> Tensor:
    """Gram matrix of the taught samples with rows scaled to norm 1, (B, ...) -> (B, B); 0 for the others."""
    flat = maps.flatten(1)
    return F.normalize(flat @ flat.T * pairs(taught, flat), dim=1)


@full_precision
def sp(student: Tensor, teacher: Tensor, taught: Tensor) -> Tensor:
    """||G^s - G^t||_F^2 / n^2 over the n taught samples, (B, ...), (B, ...), (B,) bool -> ()."""
    _, count = counted(taught, student)
    return (similarity(student, taught) - similarity(teacher, taught)).square().sum() / count**2


@DISTILLERS.register("sp")
class SP(Distiller):
    """Samples that activate the teacher's last stage alike activate the student's alike."""

    needs: ClassVar[Needs] = "features"
    fewest_stages: ClassVar[int] = 1

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        rows = batch.weights
        return {"sp": rows.total * sp(batch.student.features[-1], source_of(batch).features[-1], rows.taught)}
