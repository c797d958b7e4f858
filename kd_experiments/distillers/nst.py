"""Neuron selectivity transfer.

Huang and Wang, "Like what you like: knowledge distill via neuron selectivity transfer", arXiv 1707.01219, 2017.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, per_sample_mean, same_size, source_of
from kd_experiments.supervision.precision import full_precision

SMALLEST = 1e-12  # norm of a channel


@full_precision
def nst(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between the channels of two maps, (B, C, H, W) -> (B,).

    mean k(s, s') + mean k(t, t') - 2 mean k(s, t) with k(a, b) = (a . b)^2 over channels scaled to norm 1.
    """
    student, teacher = (maps.permute(0, 2, 3, 1).flatten(1, 2) for maps in same_size(student, teacher))  # (B, HW, C)
    own, source = (torch.bmm(maps.transpose(1, 2), maps) for maps in (student, teacher))
    # the norms are taken from the products, which are smaller than the maps
    norms = [gram.diagonal(dim1=1, dim2=2).clamp_min(SMALLEST**2).rsqrt() for gram in (own, source)]

    def kernel(products: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return per_sample_mean((products * a[:, :, None] * b[:, None, :]).square())

    between = torch.bmm(student.transpose(1, 2), teacher)
    ours, theirs = norms
    return kernel(own, ours, ours) + kernel(source, theirs, theirs) - 2 * kernel(between, ours, theirs)


@DISTILLERS.register("nst")
class NST(Distiller):
    """The student's channels select the same places as the teacher's, in every stage."""

    needs: ClassVar[Needs] = "features"

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = deepest(batch.student.features, source_of(batch).features)
        return {"nst": batch.weights.mean(torch.stack([nst(s, t) for s, t in pairs]).sum(0))}
