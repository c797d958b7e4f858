"""VID (Ahn et al., "Variational information distillation for knowledge transfer", CVPR 2019)."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, per_sample_mean, same_size, source_of
from kd_experiments.networks import Output
from kd_experiments.schema import Interval
from kd_experiments.supervision.precision import full_precision

SMALLEST_VARIANCE = 1e-5


@full_precision
def gaussian_nll(mean: Tensor, variance: Tensor, teacher: Tensor) -> Tensor:
    """Mean of ((f^t - mean)^2 / variance + log variance) / 2, (B, C, H, W), (C,), (B, C, H, W) -> (B,)."""
    squares = (teacher - mean).square().mean((2, 3))  # all places of a channel share its variance
    return per_sample_mean((squares / variance + variance.log()) / 2)


class Guess(nn.Module):
    """q(f^t | f^s): a Gaussian whose mean three 1x1 convolutions compute, with a learned variance a channel."""

    def __init__(self, inputs: int, outputs: int, variance: float) -> None:
        super().__init__()
        self.mean = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 1, bias=False),
        )
        # the variance is softplus of this parameter, plus a floor
        raw = math.log(math.expm1(variance - SMALLEST_VARIANCE))
        self.raw_variance = nn.Parameter(torch.full((outputs,), raw))

    @property
    def variance(self) -> Tensor:
        """Variances of the channels, (C,)."""
        return F.softplus(self.raw_variance) + SMALLEST_VARIANCE

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Negative log-likelihood but for a constant, (B,)."""
        student, teacher = same_size(student, teacher)
        return gaussian_nll(self.mean(student), self.variance, teacher)


@DISTILLERS.register("vid")
class VID(Distiller):
    """The student's stages tell as much as they can of the teacher's: a variational bound on mutual information."""

    needs: ClassVar[Needs] = "features"

    def __init__(self, variance: Annotated[float, Interval(over=1e-3)]) -> None:
        super().__init__()
        self.initial_variance = variance

    def build_modules(self, student: Output, source: Output) -> None:
        pairs = deepest(student.features, source.features)
        self.guesses = nn.ModuleList(Guess(s.shape[1], t.shape[1], self.initial_variance) for s, t in pairs)

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = deepest(batch.student.features, source_of(batch).features)
        losses = [guess(s, t) for guess, (s, t) in zip(self.guesses, pairs, strict=True)]
        return {"vid": batch.weights.mean(torch.stack(losses).sum(0))}
