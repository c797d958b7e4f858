"""DIST (Huang et al., "Knowledge distillation from a stronger teacher", NeurIPS 2022)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller
from kd_experiments.distillers.kd import softened
from kd_experiments.schema import NonNegative
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.weighting import SampleWeights


@full_precision
def correlation(a: Tensor, b: Tensor, weight: Tensor, dim: int) -> Tensor:
    """Pearson correlation along `dim` of two matrices (B, C), each entry with its weight; 0 where nothing varies.

    Weights are relative to 1: all ones is the usual coefficient, with 1e-8 added to the product of the norms [code].
    """
    total = weight.sum(dim, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    a, b = (weight.sqrt() * (x - (weight * x).sum(dim, keepdim=True) / total) for x in (a, b))
    return (a * b).sum(dim) / (a.norm(dim=dim) * b.norm(dim=dim) + 1e-8)


def row_correlation(p: Tensor, q: Tensor) -> Tensor:
    """Correlation of two predictions over the classes, sample by sample: (B, C) -> (B,)."""
    return correlation(p, q, torch.ones_like(p), 1)


def column_correlation(p: Tensor, q: Tensor, rows: SampleWeights) -> Tensor:
    """Correlation over the batch, class by class, each sample with its weight: (B, C) -> (C,)."""
    relative = rows.weight * rows.taught.sum() / rows.total.clamp_min(torch.finfo(p.dtype).tiny)
    return correlation(p, q, relative[:, None].expand_as(p), 0)


@DISTILLERS.register("dist")
class DIST(Distiller):
    """T^2 * [beta * (1 - rho over classes) + gamma * (1 - rho over samples)] of softened predictions."""

    uses_temperature: ClassVar[bool] = True

    def __init__(self, beta: NonNegative, gamma: NonNegative) -> None:
        super().__init__()
        self.beta = beta
        self.gamma = gamma

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        rows, t = batch.weights, batch.temperature
        p, q = softened(batch.targets.at(t), t.teacher).exp(), softened(batch.student.logits, t.student).exp()
        scale = t.scale * torch.ones_like(rows.weight)
        return {
            "dist_rows": self.beta * rows.mean(scale * (1 - row_correlation(p, q))),
            "dist_columns": self.gamma * rows.mean(scale) * (1 - column_correlation(p, q, rows)).mean(),
        }
