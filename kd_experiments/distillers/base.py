"""What a distiller is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from kd_experiments.networks import Network, Output
from kd_experiments.schema import Registry
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.weighting import SampleWeights

# What a distiller reads of its source. A frozen teacher's logits and embeddings are kept by view; features are the maps
# of its stages, which it computes in every step. Who needs more has the less as well.
Needs = Literal["logits", "embedding", "features"]


@dataclass(frozen=True)
class Targets:
    """The source's logits on a batch, after revision."""

    logits: Tensor  # (B, C) revised
    raw_logits: Tensor  # (B, C) as the source gave it
    wrong: Tensor  # (B,) bool: the raw arg max is not the label
    revised: Tensor  # (B,) bool: rows whose logits were changed
    output: Output | None  # the source's whole output, when the distiller needs more than logits


@dataclass(frozen=True)
class SecondView:
    """The same samples in a second, strong view: the student's output, the source's targets, and their temperature."""

    student: Output
    targets: Targets
    temperature: float | Tensor  # a number or (B,)


@dataclass(frozen=True)
class DistillationBatch:
    """One batch of what a distiller compares."""

    student: Output
    targets: Targets
    labels: Tensor  # (B,)
    index: Tensor  # (B,) places in the training set
    weights: SampleWeights
    temperature: float | Tensor  # a number or (B,)
    progress: Progress
    second: SecondView | None = None  # when the distiller needs it


class Distiller(nn.Module):
    """Base of all distillers: maps a batch to named loss terms, each already weighted by `batch.weights`.

    Constructor parameters are the method's hyper-parameters (`method.*`). Trainable parts are made in
    `build_modules`.
    """

    needs_source: ClassVar[bool] = True  # is there a teacher or a peer at all?
    has_terms: ClassVar[bool] = True  # does it add anything to the label loss?
    needs: ClassVar[Needs] = "logits"  # of the source
    needs_second_view: ClassVar[bool] = False  # every sample in a strong view too
    waits: ClassVar[bool] = False  # does the host wait for the device in a step, which then cannot be recorded?
    uses_temperature: ClassVar[bool] = False
    initialisation_epochs: int = 0  # epochs at the start whose only loss is `initialise`

    def inspect_networks(self, student: Network, source: Network) -> None:
        """Read facts off the networks themselves, before `build_modules`."""

    def inspect_labels(self, labels: Tensor, classes: int) -> None:
        """Get ready for a training set with these labels, (N,) as `batch.index` counts; before `build_modules`."""

    def build_modules(self, student: Output, source: Output) -> None:
        """Make parts that depend on shapes, given one example output of each network (on any device)."""

    def deepest_stage(self, stages: int, initialising: bool) -> int | None:
        """The deepest of the source's `stages` that a step reads, from 0; None for none. Asked if it needs features."""
        return stages - 1

    def initialise(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The terms of the first `initialisation_epochs`, which take the place of all others."""
        raise NotImplementedError

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        raise NotImplementedError


class LogitDistiller(Distiller):
    """A distiller with one loss a sample, computed from logits."""

    term: ClassVar[str]

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        """Losses (B,)."""
        raise NotImplementedError

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        return {self.term: batch.weights.mean(self.per_sample(batch))}


DISTILLERS: Registry[Distiller] = Registry("method.distiller")
