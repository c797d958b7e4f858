"""Attention transfer.

Zagoruyko and Komodakis, "Paying more attention to attention: improving the performance of convolutional neural
networks via attention transfer", ICLR 2017.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, per_sample_mean, same_size, source_of
from kd_experiments.schema import Positive
from kd_experiments.supervision.precision import full_precision


@full_precision
def attention(maps: Tensor, p: float) -> Tensor:
    """Mean over channels of |f|^p, scaled to norm 1: (B, C, H, W) -> (B, HW)."""
    return F.normalize(maps.abs().pow(p).mean(1).flatten(1))


@full_precision
def at(student: Tensor, teacher: Tensor, p: float) -> Tensor:
    """Mean over places of (a^s - a^t)^2, (B, C, H, W) -> (B,); channels may differ, sizes are pooled to the smaller."""
    student, teacher = same_size(student, teacher)
    return per_sample_mean((attention(student, p) - attention(teacher, p)).square())


@DISTILLERS.register("at")
class AT(Distiller):
    """Look where the teacher looks, in every stage."""

    needs: ClassVar[Needs] = "features"

    def __init__(self, p: Positive) -> None:
        super().__init__()
        self.p = p

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = deepest(batch.student.features, source_of(batch).features)
        return {"at": batch.weights.mean(torch.stack([at(s, t, self.p) for s, t in pairs]).sum(0))}
