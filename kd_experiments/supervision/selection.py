"""Whom do we let the teacher teach? A subset of the training set, fixed before training; the rest learns from labels.

Every strategy is a score; the `ratio` with the lowest scores is taught. Ties are broken by a seeded shuffle, never by
the order of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from kd_experiments.randomness import derive, ranking
from kd_experiments.schema import Fraction, Interval, Registry, Seed
from kd_experiments.supervision.influence import SplitOutputs, influence
from kd_experiments.supervision.label_loss import cross_entropy
from kd_experiments.supervision.revision import wrong_rows
from kd_experiments.supervision.weighting import entropy


@dataclass(frozen=True)
class Snapshot:
    """A teacher in the middle of its training: its outputs, and the learning rate of that time."""

    train: SplitOutputs
    val: SplitOutputs
    lr: float


@dataclass(frozen=True)
class SelectionInputs:
    """What a strategy may look at: the frozen teacher on un-augmented images of train and val, and its past."""

    train: SplitOutputs
    val: SplitOutputs
    snapshots: Callable[[], Sequence[Snapshot]]  # computed only if asked for


class Selection:
    """A strategy with its `ratio` of the training set."""

    scored_by_teacher: ClassVar[bool] = True
    is_none: ClassVar[bool] = False
    reads_snapshots: ClassVar[bool] = False  # of the teacher's training
    reads_embedding: ClassVar[bool] = False  # what the teacher's last layer reads
    ratio: float

    def scores(self, teacher: SelectionInputs) -> Tensor:
        """(N,) float64; the lowest are taught first."""
        raise NotImplementedError

    @property
    def is_everyone(self) -> bool:
        """Is nobody left out?"""
        return self.ratio == 1

    def tie_seed(self) -> int:
        return 0

    def mask(self, scores: Tensor) -> Tensor:
        """Which samples are taught, (N,) bool: exactly round(ratio * N) of them."""
        order = ranking(derive(self.tie_seed(), "selection"), len(scores))
        order = order[torch.argsort(scores.cpu()[order], stable=True)]
        mask = torch.zeros(len(scores), dtype=torch.bool)
        mask[order[: int(self.ratio * len(scores) + 0.5)]] = True
        return mask


SELECTIONS: Registry[Selection] = Registry("selection")


@SELECTIONS.register("none")
@dataclass(frozen=True)
class NoSelection(Selection):
    """The teacher teaches every sample."""

    is_none: ClassVar[bool] = True
    scored_by_teacher: ClassVar[bool] = False
    ratio: ClassVar[float] = 1.0  # type: ignore[misc]  # a knob elsewhere, a fact here

    def scores(self, teacher: SelectionInputs) -> Tensor:
        return torch.zeros(len(teacher.train.labels), dtype=torch.float64)


@SELECTIONS.register("influence")
@dataclass(frozen=True)
class Influence(Selection):
    """LRDS: the samples that lower the validation loss most; `reversed` takes the least helpful ones (a control)."""

    reads_embedding: ClassVar[bool] = True
    ratio: Fraction
    hessian: Literal["identity", "kfac"]
    damping: Annotated[float, Interval(over=0)]
    reversed: bool

    def scores(self, teacher: SelectionInputs) -> Tensor:
        scores = influence(teacher.train, teacher.val, self.hessian, self.damping)
        return -scores if self.reversed else scores


@SELECTIONS.register("tracin")
@dataclass(frozen=True)
class TracIn(Selection):
    """Influence summed over snapshots of the teacher's training, weighted by learning rate (Pruthi et al. 2020)."""

    reads_snapshots: ClassVar[bool] = True
    reads_embedding: ClassVar[bool] = True
    ratio: Fraction

    def scores(self, teacher: SelectionInputs) -> Tensor:
        parts = [shot.lr * influence(shot.train, shot.val, "identity", 0.0) for shot in teacher.snapshots()]
        return torch.stack(parts).sum(0)


@SELECTIONS.register("random")
@dataclass(frozen=True)
class Random(Selection):
    """A control: any samples, by seed."""

    scored_by_teacher: ClassVar[bool] = False
    ratio: Fraction
    seed: Seed

    def scores(self, teacher: SelectionInputs) -> Tensor:
        return torch.zeros(len(teacher.train.labels), dtype=torch.float64)  # all tie: the seeded shuffle decides

    def tie_seed(self) -> int:
        return self.seed


@SELECTIONS.register("confidence")
@dataclass(frozen=True)
class Confidence(Selection):
    """The samples the teacher is most confident of."""

    ratio: Fraction

    def scores(self, teacher: SelectionInputs) -> Tensor:
        return -torch.log_softmax(teacher.train.logits.double(), 1).amax(1)


@SELECTIONS.register("entropy")
@dataclass(frozen=True)
class Entropy(Selection):
    """The samples on which the teacher's prediction has the lowest entropy."""

    ratio: Fraction

    def scores(self, teacher: SelectionInputs) -> Tensor:
        return entropy(teacher.train.logits.double())


@SELECTIONS.register("loss")
@dataclass(frozen=True)
class Loss(Selection):
    """The samples on which the teacher's cross-entropy is lowest."""

    ratio: Fraction

    def scores(self, teacher: SelectionInputs) -> Tensor:
        return cross_entropy(teacher.train.logits.double(), teacher.train.labels)


@SELECTIONS.register("teacher_correct")
@dataclass(frozen=True)
class TeacherCorrect(Selection):
    """The samples the teacher gets right before those it gets wrong, each group in seeded random order."""

    ratio: Fraction
    seed: Seed

    def scores(self, teacher: SelectionInputs) -> Tensor:
        return wrong_rows(teacher.train.logits, teacher.train.labels).double()

    def tie_seed(self) -> int:
        return self.seed


def scoring_key(selection: Selection) -> str:
    """Names what the scores depend on: everything but the ratio and the tie-breaking seed."""
    changes = {name: 0 for name in ("ratio", "seed") if name in getattr(selection, "__dataclass_fields__", {})}
    return repr(replace(selection, **changes))  # type: ignore[type-var]  # every strategy is a dataclass
