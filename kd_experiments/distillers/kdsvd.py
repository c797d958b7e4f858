"""Knowledge of singular vectors.

Lee, Kim and Song, "Self-supervised knowledge distillation using singular value decomposition", ECCV 2018; the form is
the public benchmark's [code].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, same_size, source_of
from kd_experiments.errors import UserError
from kd_experiments.networks import Output
from kd_experiments.schema import Count
from kd_experiments.supervision.precision import full_precision

SPARE = 3  # more vectors are kept of the student than of the teacher, to find the ones that fit


class Eigenvectors(torch.autograd.Function):
    """Eigenvalues (B, W) and eigenvectors (B, W, W), largest first, of symmetric matrices (B, W, W).

    The gradient of an eigenvector divides by gaps between eigenvalues; a dead or constant map has none, and the
    gradient would be NaN. 1 / gap becomes gap / (gap^2 + (1e-6 * largest)^2). Eigenvalues carry no gradient.
    """

    @staticmethod
    def forward(ctx: Any, matrix: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = (part.flip(-1) for part in torch.linalg.eigh(matrix))
        ctx.save_for_backward(values, vectors)
        ctx.mark_non_differentiable(values)
        return values, vectors

    @staticmethod
    def backward(ctx: Any, _: Tensor, gradient: Tensor) -> Tensor:
        values, vectors = ctx.saved_tensors
        gap = values[:, None, :] - values[:, :, None]
        floor = (1e-6 * values[:, :1, None]).square() + torch.finfo(values.dtype).tiny
        inner = (vectors.mT @ gradient) * gap / (gap.square() + floor)
        outer = vectors @ inner @ vectors.mT
        return (outer + outer.mT) / 2


def right_singular(maps: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Largest singular values (B, k), scaled to norm 1, and right singular vectors (B, W, k) of (B, C * H, W) maps."""
    matrix = maps.flatten(1, 2)
    values, vectors = Eigenvectors.apply(matrix.mT @ matrix)
    return F.normalize(values[:, :k].clamp_min(0).sqrt()), vectors[:, :, :k]


def aligned(student: Tensor, teacher: Tensor) -> Tensor:
    """For each teacher's vector the student's most similar one, its sign turned to it.

    (B, W, n), (B, W, k) -> (B, W, k).
    """
    cosine = (student.mT @ teacher).detach()
    nearest = cosine.abs().argmax(1, keepdim=True)
    return student @ torch.zeros_like(cosine).scatter(1, nearest, cosine.gather(1, nearest).sign())


def neighbours(vectors: Tensor, before: Tensor) -> Tensor:
    """exp(-(v_i - v'_j)^2 / 8) between the vectors of one stage and of the stage before, (B, W, W', k)."""
    return torch.exp(-(vectors[:, :, None] - before[:, None]).square() / 8)


@full_precision
def kdsvd(student: Sequence[Tensor], teacher: Sequence[Tensor], k: int) -> Tensor:
    """Sum over neighbouring stages of ||R^s - R^t||^2, R the relation of their singular vectors; -> (B,)."""
    ours, theirs = [], []
    for maps, guide in map(same_size, student, teacher):
        values, vectors = right_singular(guide, k)
        theirs.append(vectors * values[:, None])
        ours.append(aligned(right_singular(maps, k + SPARE)[1], vectors) * values[:, None])
    losses = [
        (neighbours(ours[i], ours[i - 1]) - neighbours(theirs[i], theirs[i - 1])).square().flatten(1).sum(1)
        for i in range(1, len(ours))
    ]
    return torch.stack(losses).sum(0)


@DISTILLERS.register("kdsvd")
class KDSVD(Distiller):
    """How the principal patterns of one stage relate to those of the next."""

    needs: ClassVar[Needs] = "features"
    waits: ClassVar[bool] = True  # the decomposition's outcome is looked at on the host

    def __init__(self, k: Count) -> None:
        super().__init__()
        self.k = k

    def build_modules(self, student: Output, source: Output) -> None:
        pairs = deepest(student.features, source.features)
        most = min(maps.shape[2] * maps.shape[3] for pair in pairs for maps in pair)
        if self.k > most:
            raise UserError(
                f"method.k={self.k}: the smallest maps have {most} places, and so many singular vectors only; "
                f"give at most method.k={most}"
            )

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        student, teacher = zip(*deepest(batch.student.features, source_of(batch).features), strict=True)
        return {"kdsvd": batch.weights.mean(kdsvd(student, teacher, self.k))}
