"""ReviewKD (Chen et al., "Distilling knowledge via knowledge review", CVPR 2021)."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, per_sample_mean, pool_to, source_of
from kd_experiments.networks import Output
from kd_experiments.schema import Count
from kd_experiments.supervision.precision import full_precision


@full_precision
def hcl(student: Tensor, teacher: Tensor) -> Tensor:
    """Hierarchical context loss of one level, (B, C, H, W) -> (B,).

    Weighted mean of the mean squared errors of the maps (weight 1) and of the maps pooled to 4x4, 2x2 and 1x1 (weights
    1/2, 1/4, ... of those that are smaller than the maps).
    """
    loss, weight, total = per_sample_mean((student - teacher).square()), 1.0, 1.0
    for size in (4, 2, 1):
        if size < student.shape[2]:
            weight /= 2
            total += weight
            pooled = pool_to(student, size, size) - pool_to(teacher, size, size)
            loss = loss + weight * per_sample_mean(pooled.square())
    return loss / total


class Fusion(nn.Module):
    """Attention-based fusion of a student's stage with what came from the deeper one (ABF)."""

    def __init__(self, inputs: int, middle: int, outputs: int, deepest: bool) -> None:
        super().__init__()
        self.reduce = nn.Sequential(nn.Conv2d(inputs, middle, 1, bias=False), nn.BatchNorm2d(middle))
        self.expand = nn.Sequential(nn.Conv2d(middle, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.attention = None if deepest else nn.Sequential(nn.Conv2d(2 * middle, 2, 1), nn.Sigmoid())
        for convolution in (self.reduce[0], self.expand[0]):
            assert isinstance(convolution, nn.Conv2d)
            nn.init.kaiming_uniform_(convolution.weight, a=1)

    def forward(self, maps: Tensor, deeper: Tensor | None, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Maps for the teacher's stage, (B, outputs, *size), and for the next shallower fusion, (B, middle, *size)."""
        fused = self.reduce(maps)
        if self.attention is not None:
            assert deeper is not None
            deeper = F.interpolate(deeper, fused.shape[2:], mode="nearest")
            ours, theirs = self.attention(torch.cat([fused, deeper], 1)).split(1, 1)
            fused = fused * ours + deeper * theirs
        if fused.shape[2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.expand(fused), fused


def levels(student: Output, source: Output) -> list[tuple[Tensor, Tensor]]:
    """Pairs of maps, shallow to deep: the student's stages and the teacher's pre-activations, then the embeddings."""
    embeddings = student.embedding[:, :, None, None], source.embedding[:, :, None, None]
    return [*deepest(student.features, source.preactivations), embeddings]


@DISTILLERS.register("reviewkd")
class ReviewKD(Distiller):
    """A stage of the teacher guides the student's stage *and* its deeper ones, fused from the deepest up."""

    needs: ClassVar[Needs] = "features"
    reads_embedding: ClassVar[bool] = True

    def __init__(self, widest: Count) -> None:
        super().__init__()
        self.widest = widest

    def build_modules(self, student: Output, source: Output) -> None:
        pairs = levels(student, source)
        middle = min(self.widest, student.embedding.shape[1])
        last = len(pairs) - 1
        self.fusions = nn.ModuleList(
            Fusion(s.shape[1], middle, t.shape[1], deepest=level == last) for level, (s, t) in enumerate(pairs)
        )

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = levels(batch.student, source_of(batch))
        deeper: Tensor | None = None
        losses = []
        for level in reversed(range(len(pairs))):
            student, teacher = pairs[level]
            reviewed, deeper = self.fusions[level](student, deeper, teacher.shape[2:])
            losses.append(hcl(reviewed, teacher))
        return {"review": batch.weights.mean(torch.stack(losses).sum(0))}
