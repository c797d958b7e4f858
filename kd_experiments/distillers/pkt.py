"""Probabilistic knowledge transfer.

Passalis and Tefas, "Learning deep representations with probabilistic knowledge transfer", ECCV 2018.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import source_of
from kd_experiments.distillers.relations import counted, pairs
from kd_experiments.schema import Positive
from kd_experiments.supervision.precision import full_precision


def neighbourhood(embedding: Tensor, taught: Tensor, eps: float) -> Tensor:
    """Cosine similarity in [0, 1] as a distribution over taught samples, row by row, (B, D) -> (B, B)."""
    directions = embedding / (embedding.norm(dim=1, keepdim=True) + eps)
    similarity = (directions @ directions.T + 1) / 2 * pairs(taught, embedding)
    total = similarity.sum(1, keepdim=True)
    return similarity / torch.where(total > 0, total, 1.0)


@full_precision
def pkt(student: Tensor, teacher: Tensor, taught: Tensor, eps: float) -> Tensor:
    """Mean over the n^2 pairs of taught samples of p^t * log((p^t + eps) / (p^s + eps)), (B, D), (B, D') -> ()."""
    _, count = counted(taught, student)
    p, q = neighbourhood(teacher, taught, eps), neighbourhood(student, taught, eps)
    return (p * ((p + eps) / (q + eps)).log()).sum() / count**2


@DISTILLERS.register("pkt")
class PKT(Distiller):
    """A sample's neighbours in the student's embedding are its neighbours in the teacher's."""

    needs: ClassVar[Needs] = "embedding"

    def __init__(self, eps: Positive) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        student, teacher, rows = batch.student.embedding, source_of(batch).embedding, batch.weights
        return {"pkt": rows.total * pkt(student, teacher, rows.taught, self.eps)}
