"""Wrong labels on purpose: which training labels are replaced, seeded and exact in number.

Only labels of the training split are touched; validation and test stay clean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from kd_experiments.errors import UserError
from kd_experiments.randomness import derive, integers, ranking
from kd_experiments.schema import Interval, Registry, Seed

Rate = Annotated[float, Interval(at_least=0, under=1)]

# Asymmetric noise: which class is taken for which. CIFAR-10's pairs are the literature's (Patrini et al. 2017); those
# of Fashion-MNIST and digits are ours, pairs that people and networks do confuse.
CONFUSIONS: dict[str, dict[int, int]] = {
    "cifar10": {9: 1, 2: 0, 3: 5, 5: 3, 4: 7},  # truck->automobile, bird->airplane, cat<->dog, deer->horse
    "fashion_mnist": {
        0: 6,
        6: 0,
        2: 4,
        4: 2,
        5: 7,
        7: 9,
    },  # T-shirt<->shirt, pullover<->coat, sandal->sneaker->boot
    "digits": {1: 7, 7: 1, 3: 8, 8: 3, 4: 9, 9: 4},
}


@dataclass(frozen=True)
class LabelSource:
    """What a noise model may look at: true labels (N,) int64 on the CPU, and facts of the data set."""

    dataset: str
    labels: Tensor
    classes: int
    coarse: tuple[int, ...] | None = None  # coarse class of each fine class, where the data set has them


class LabelNoise:
    """Maps true labels to given ones, (N,) -> (N,)."""

    def __call__(self, source: LabelSource) -> Tensor:
        raise NotImplementedError


NOISES: Registry[LabelNoise] = Registry("label_noise")


@NOISES.register("none")
@dataclass(frozen=True)
class NoNoise(LabelNoise):
    """Labels as they are."""

    def __call__(self, source: LabelSource) -> Tensor:
        return source.labels


@NOISES.register("symmetric")
@dataclass(frozen=True)
class Symmetric(LabelNoise):
    """Exactly int(rate * N) labels, each replaced by one of the *other* classes, uniformly."""

    rate: Rate
    seed: Seed

    def __call__(self, source: LabelSource) -> Tensor:
        labels = source.labels.clone()
        chosen = ranking(derive(self.seed, "symmetric noise"), len(labels))[: int(self.rate * len(labels))]
        step = 1 + integers(derive(self.seed, "symmetric noise class"), chosen, source.classes - 1)
        labels[chosen] = (labels[chosen] + step) % source.classes
        return labels


@NOISES.register("pair_flip")
@dataclass(frozen=True)
class PairFlip(LabelNoise):
    """Exactly int(rate * N) labels, each replaced by the next class: i -> (i + 1) mod C."""

    rate: Rate
    seed: Seed

    def __call__(self, source: LabelSource) -> Tensor:
        labels = source.labels.clone()
        chosen = ranking(derive(self.seed, "pair flip"), len(labels))[: int(self.rate * len(labels))]
        labels[chosen] = (labels[chosen] + 1) % source.classes
        return labels


@NOISES.register("asymmetric")
@dataclass(frozen=True)
class Asymmetric(LabelNoise):
    """Exactly int(rate * N_c) labels of every confused class c, replaced by the class it is confused with.

    Data sets with coarse classes (CIFAR-100): in each coarse class two random fine classes, swapped both ways.
    """

    rate: Rate
    seed: Seed

    def __call__(self, source: LabelSource) -> Tensor:
        labels = source.labels.clone()
        for wrong_from, wrong_to in self.confusions(source).items():
            members = (source.labels == wrong_from).nonzero().flatten()
            order = ranking(derive(self.seed, "asymmetric noise", wrong_from), len(members))
            labels[members[order[: int(self.rate * len(members))]]] = wrong_to
        return labels

    def confusions(self, source: LabelSource) -> dict[int, int]:
        """Class -> the class it is given instead."""
        if source.dataset in CONFUSIONS:
            return CONFUSIONS[source.dataset]
        if source.coarse is None:
            raise UserError(
                f"label_noise=asymmetric: no confused classes are known for dataset={source.dataset}; use "
                f"label_noise=symmetric or label_noise=pair_flip, or one of {', '.join(CONFUSIONS)}, cifar100"
            )
        swaps: dict[int, int] = {}
        coarse = torch.tensor(source.coarse)
        for group in coarse.unique().tolist():
            fine = (coarse == group).nonzero().flatten()
            if len(fine) < 2:
                continue
            a, b = fine[ranking(derive(self.seed, "swapped classes", group), len(fine))[:2]].tolist()
            swaps |= {a: b, b: a}
        return swaps
