"""Neuron selectivity transfer.

Huang and Wang, "Like what you like: knowledge distill via neuron selectivity transfer", arXiv 1707.01219, 2017.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, per_sample_mean, same_size, source_of
from kd_experiments.supervision.precision import full_precision


@full_precision
def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between the channels of two maps, (B, C, H, W) -> (B,).

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t) with k(a, b) = (a . b)^2 over channels scaled to norm 1.
    """
    student, teacher = (F.normalize(maps.flatten(2), dim=2) for maps in same_size(student, teacher))

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return per_sample_mean(torch.bmm(a, b.transpose(1, 2)).square())

    return kernel(student, student) + kernel(teacher, teacher) - 2 * kernel(student, teacher)


@DISTILLERS.register("nst")
class NST(Distiller):
    """The student's channels select the same places as the teacher's, in every stage."""

    needs: ClassVar[Needs] = "features"

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = deepest(batch.student.features, source_of(batch).features)
        return {"nst": batch.weights.mean(torch.stack([nst(s, t) for s, t in pairs]).sum(0))}
