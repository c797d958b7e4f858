"""What a distiller is given and what it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.schema import Registry
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import Revision, TemperatureValue, wrong_rows
from kd_experiments.supervision.temperature import Temperatures, standardise
from kd_experiments.supervision.weighting import SampleWeights

# What a distiller reads of its source. A frozen teacher's logits and embeddings are kept by view; features are the maps
# of its stages, which it computes in every step. Who needs more has the less as well.
Needs = Literal["logits", "embedding", "features"]


@dataclass(frozen=True)
class Targets:
    """What the source says about a batch, and what it should have said.

    A revision may be defined on softened predictions: it is made anew at each temperature at which a distiller
    compares. With `standardised`, z-scores of the logits are compared, and revised.
    """

    raw_logits: Tensor  # (B, C) as the source gave it, without gradient
    labels: Tensor  # (B,)
    revision: Revision
    standardised: bool = False
    output: Output | None = None  # the source's whole output, when the distiller needs more than logits

    @cached_property
    def wrong(self) -> Tensor:
        """Rows whose raw arg max is not the label, (B,) bool."""
        return wrong_rows(self.raw_logits, self.labels)

    @cached_property
    def revised(self) -> Tensor:
        """Rows whose logits are changed, (B,) bool."""
        return torch.zeros_like(self.wrong) if self.revision.is_none else self.wrong

    def at(self, temperature: TemperatureValue | Temperatures) -> Tensor:
        """Revised logits, (B, C), for a comparison at this temperature, which still divides them."""
        logits = standardise(self.raw_logits) if self.standardised else self.raw_logits
        return self.revision(logits, self.labels, Temperatures.of(temperature).teacher)


@dataclass(frozen=True)
class SecondView:
    """The same samples in a second, strong view: the student's output, the source's targets, their temperatures."""

    student: Output
    targets: Targets
    temperature: Temperatures


@dataclass(frozen=True)
class DistillationBatch:
    """One batch of what a distiller compares."""

    student: Output
    targets: Targets
    labels: Tensor  # (B,)
    index: Tensor  # (B,) places in the training set
    weights: SampleWeights
    temperature: Temperatures
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
    fewest_stages: ClassVar[int] = 2  # of student and source, the stem among them, where it needs features
    reads_embedding: ClassVar[bool] = False  # besides features
    reads_last_map: ClassVar[bool] = False
    needs_second_view: ClassVar[bool] = False  # every sample in a strong view too
    initialises_student: ClassVar[bool] = True  # is the student in train mode, and trained, meanwhile?
    waits: ClassVar[bool] = False  # does the host wait for the device in a step, which then cannot be recorded?
    uses_temperature: ClassVar[bool] = False
    initialisation_epochs: int = 0  # epochs before those of the recipe, whose only loss is `initialise`

    @classmethod
    def reads_logits(cls) -> bool:
        """Does any of its own terms read what the source predicts?"""
        return cls.needs == "logits"

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
        """The terms of the `initialisation_epochs`, which take the place of all others."""
        raise NotImplementedError

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        """The loss terms of one batch, by the name they have in the history: `loss_<name>`.

        Terms     () each, on the batch's device, in the dtype of what they are computed from: float32, to which the
                  objective converts logits and features, whatever the forward ran in. Their sum, times `method.weight`
                  and its warm-up, joins the label loss; a weight between terms is the distiller's own. The names are
                  the same in every step. No term, `{}`, is allowed.
        Rows      A term is a mean of one number a sample, `batch.weights.mean((B,))` = sum(w * value) / normaliser. A
                  sample of weight 0, such as one that was not selected, changes nothing; what compares samples with
                  each other weighs pairs by both.
        Shapes    `student.logits` and `targets.at(T)` (B, C); `labels`, `index`, `targets.wrong` (B,); features
                  (B, C_k, H_k, W_k), stem first; `temperature` a number or (B,). B is the whole batch, also where
                  several processes share it, and an epoch's last batch is smaller.
        Gradient  flows through `student` alone: what the source says is detached.
        Host      No `.item()`, no `if` on a tensor's value, no tensor made on the CPU: on CUDA the step is recorded
                  once and replayed, and everywhere the host would wait. Who must wait says so with `waits`.
        State     Buffers are changed in place (`self.mean.copy_(...)`), never replaced, for the same reason; what a
                  resumed run needs is a parameter or a buffer made in `build_modules` or `inspect_labels`.
        """
        raise NotImplementedError


def refuse_empty(key: str, values: Sequence[object], example: str) -> None:
    """`UserError` for a list without entries."""
    if not values:
        raise UserError(f"{key}=[]: an empty list; give at least one entry, such as {key}={example}")


class LogitDistiller(Distiller):
    """A distiller with one loss a sample, computed from logits."""

    term: ClassVar[str]

    @classmethod
    def reads_logits(cls) -> bool:
        return True

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        """Losses (B,)."""
        raise NotImplementedError

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        return {self.term: batch.weights.mean(self.per_sample(batch))}


DISTILLERS: Registry[Distiller] = Registry("method.distiller")
