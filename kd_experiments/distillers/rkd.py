"""Relational knowledge distillation (Park et al., "Relational knowledge distillation", CVPR 2019)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import source_of
from kd_experiments.distillers.relations import counted, pairs
from kd_experiments.schema import NonNegative
from kd_experiments.supervision.precision import full_precision


def relative_distances(embedding: Tensor, taught: Tensor) -> Tensor:
    """Distances between taught samples over their mean, (B, D) -> (B, B); 0 on the diagonal and for the others."""
    squares = embedding.square().sum(1)
    squared = (squares[:, None] + squares - 2 * embedding @ embedding.T).clamp_min(1e-12)
    counts = pairs(taught, embedding) * (1 - torch.eye(len(embedding), dtype=squared.dtype, device=squared.device))
    # a distance that does not count is taken from 1, where the root has a harmless gradient
    distances = torch.where(counts > 0, squared, 1.0).sqrt() * counts
    mean = distances.sum() / counts.sum().clamp_min(1)
    return distances / torch.where(mean > 0, mean, 1.0)


@full_precision
def distance_loss(student: Tensor, teacher: Tensor, taught: Tensor) -> Tensor:
    """Huber loss of relative distances over the n^2 pairs of taught samples, (B, D), (B, D'), (B,) bool -> ()."""
    _, count = counted(taught, student)
    ours, theirs = relative_distances(student, taught), relative_distances(teacher, taught)
    return F.smooth_l1_loss(ours, theirs, reduction="sum") / count**2


def angles(embedding: Tensor) -> Tensor:
    """Cosines of the angle at i between the directions to j and to k, (B, D) -> (B, B, B)."""
    directions = F.normalize(embedding[None] - embedding[:, None], dim=2)
    return torch.bmm(directions, directions.transpose(1, 2))


@full_precision
def angle_loss(student: Tensor, teacher: Tensor, taught: Tensor) -> Tensor:
    """Huber loss of angles over the n^3 triples of taught samples, (B, D), (B, D'), (B,) bool -> ()."""
    ones, count = counted(taught, student)
    triples = ones[:, None, None] * pairs(taught, student)
    losses = F.smooth_l1_loss(angles(student), angles(teacher), reduction="none")
    return (losses * triples).sum() / count**3


@DISTILLERS.register("rkd")
class RKD(Distiller):
    """The student's embeddings form the same figure as the teacher's: distances and angles."""

    needs: ClassVar[Needs] = "embedding"

    def __init__(self, distance_weight: NonNegative, angle_weight: NonNegative) -> None:
        super().__init__()
        self.distance_weight = distance_weight
        self.angle_weight = angle_weight

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        student, teacher, rows = batch.student.embedding, source_of(batch).embedding, batch.weights
        return {
            "rkd_distance": self.distance_weight * rows.total * distance_loss(student, teacher, rows.taught),
            "rkd_angle": self.angle_weight * rows.total * angle_loss(student, teacher, rows.taught),
        }
