"""Factor transfer.

Kim, Park and Kwak, "Paraphrasing complex network: network compression via factor transfer", NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import per_sample_mean, same_size, source_of, stage
from kd_experiments.networks import Output
from kd_experiments.schema import Epochs, Interval, Positive
from kd_experiments.supervision.precision import full_precision


@full_precision
def ft(student: Tensor, teacher: Tensor, p1: float, p2: float) -> Tensor:
    """Mean over places of |a(s) - a(t)|^p2, (B, C, H, W) -> (B,); a = mean over channels of |f|^p1, at norm 1."""
    student, teacher = (F.normalize(maps.abs().pow(p1).mean(1).flatten(1)) for maps in same_size(student, teacher))
    return per_sample_mean((student - teacher).abs().pow(p2))


def layers(*widths: int, convolution: Callable[..., nn.Module], norm: bool) -> nn.Sequential:
    """3x3 convolutions through the given widths, each with batch norm if asked for and a leaky ReLU."""
    modules: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        modules += [convolution(inputs, outputs, 3, padding=1), *([nn.BatchNorm2d(outputs)] if norm else [])]
        modules += [nn.LeakyReLU(0.1)]
    return nn.Sequential(*modules)


@DISTILLERS.register("ft")
class FT(Distiller):
    """A paraphraser learns to compress the teacher's maps into factors; a translator learns the student's factors.

    The paraphraser is trained by reconstruction in the first epochs and is fixed afterwards.
    """

    needs: ClassVar[Needs] = "features"
    fewest_stages: ClassVar[int] = 1
    initialises_student: ClassVar[bool] = False  # it is the paraphraser's stage

    def __init__(
        self,
        stage: int,
        rate: Annotated[float, Interval(over=0, at_most=1)],
        p1: Positive,
        p2: Positive,
        initialisation_epochs: Epochs,
    ) -> None:
        super().__init__()
        self.stage = stage
        self.rate = rate
        self.p1 = p1
        self.p2 = p2
        self.initialisation_epochs = initialisation_epochs

    def build_modules(self, student: Output, source: Output) -> None:
        inputs = stage(student.features, self.stage, "ft", "student").shape[1]
        width = stage(source.features, self.stage, "ft", "teacher").shape[1]
        factors = max(int(width * self.rate), 1)
        self.translator = layers(inputs, inputs, factors, factors, convolution=nn.Conv2d, norm=True)
        self.paraphraser = layers(width, width, factors, factors, convolution=nn.Conv2d, norm=False)
        self.decoder = layers(factors, factors, width, width, convolution=nn.ConvTranspose2d, norm=False)

    def deepest_stage(self, stages: int, initialising: bool) -> int | None:
        return range(stages)[self.stage]

    def initialise(self, batch: DistillationBatch) -> dict[str, Tensor]:
        maps = source_of(batch).features[self.stage]
        errors = per_sample_mean((self.decoder(self.paraphraser(maps)) - maps).square())
        return {"reconstruction": batch.weights.mean(errors)}

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        with torch.no_grad():
            factors = self.paraphraser(source_of(batch).features[self.stage])
        translated = self.translator(batch.student.features[self.stage])
        return {"ft": batch.weights.mean(ft(translated, factors, self.p1, self.p2))}
