"""Correlation congruence (Peng et al., "Correlation congruence for knowledge distillation", ICCV 2019)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import source_of
from kd_experiments.distillers.relations import counted
from kd_experiments.networks import Output
from kd_experiments.schema import Count
from kd_experiments.supervision.precision import full_precision


@full_precision
def cc(student: Tensor, teacher: Tensor, taught: Tensor) -> Tensor:
    """Mean over neighbours i, i + 1 of sum_d |e^s - e^t|_{i,d} |e^s - e^t|_{i+1,d}, (B, D), (B, D), (B,) bool -> ().

    The public benchmark's form [code]. Taught samples are moved to the front, so that neighbours are neighbours among
    the taught.
    """
    order = taught.int().argsort(descending=True, stable=True)
    difference = (student - teacher).abs()[order]
    both, count = counted(taught[order][1:], difference)
    return ((difference[:-1] * difference[1:]).sum(1) * both).sum() / count


@DISTILLERS.register("cc")
class CC(Distiller):
    """Embeddings of both networks, projected to `dimension` numbers by learned linear maps, differ independently."""

    needs: ClassVar[Needs] = "embedding"

    def __init__(self, dimension: Count) -> None:
        super().__init__()
        self.dimension = dimension

    def build_modules(self, student: Output, source: Output) -> None:
        self.student_projection = nn.Linear(student.embedding.shape[1], self.dimension)
        self.source_projection = nn.Linear(source.embedding.shape[1], self.dimension)

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        guided = self.student_projection(batch.student.embedding)
        guide = self.source_projection(source_of(batch).embedding)
        return {"cc": batch.weights.total * cc(guided, guide, batch.weights.taught)}
