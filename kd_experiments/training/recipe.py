"""How a network is trained: epochs or iterations, batch size, optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import torch
from torch import nn

from kd_experiments.schema import Count, Fraction, Interval, NonNegative, Positive, When


@dataclass(frozen=True)
class Recipe:
    """`recipe.*`; SGD, the optimiser of every protocol the suite reproduces.

    A training ends after `epochs` or, where `iterations` is given, after so many steps of the optimiser, whichever
    comes first; the last epoch is cut short then. `milestones` are counted in the same unit.
    """

    name: str
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Interval(at_least=0, under=1)]
    nesterov: bool
    weight_decay: NonNegative
    schedule: Literal["constant", "cosine", "step"]
    # epochs (iterations) after which the learning rate is multiplied by gamma
    milestones: Annotated[tuple[Count, ...], When(schedule="step")]
    gamma: Annotated[Fraction, When(schedule="step")]
    warmup_epochs: NonNegative  # the learning rate rises linearly over this many epochs
    evaluate_every: Count  # epochs between evaluations; the last epoch is always evaluated
    iterations: Count | None = None  # null: the training and its milestones are counted in epochs

    def for_samples(self, samples: int) -> Recipe:
        """The same recipe for a training set of this size: `epochs` is then how many there will be."""
        if self.iterations is None:
            return self
        return replace(self, epochs=min(self.epochs, math.ceil(self.iterations / self.steps_per_epoch(samples))))

    def steps_per_epoch(self, samples: int) -> int:
        return math.ceil(samples / self.batch_size)

    def steps(self, steps_per_epoch: int) -> int:
        """Steps of the whole training."""
        every = self.epochs * steps_per_epoch
        return every if self.iterations is None else min(every, self.iterations)

    def steps_of(self, epoch: int, steps_per_epoch: int) -> int:
        """Steps of epoch `epoch`, from 0: all of them, except in a last epoch that iterations cut short."""
        return min(steps_per_epoch, self.steps(steps_per_epoch) - epoch * steps_per_epoch)

    def lr_at(self, epoch: int, step: int, steps_per_epoch: int) -> float:
        """The learning rate of step `step` of epoch `epoch`, both from 0."""
        done, steps_done = epoch + step / steps_per_epoch, epoch * steps_per_epoch + step
        if done < self.warmup_epochs:
            return self.lr * (steps_done + 1) / math.ceil(self.warmup_epochs * steps_per_epoch)
        match self.schedule:
            case "constant":
                return self.lr
            case "step":
                passed = epoch if self.iterations is None else steps_done
                return self.lr * self.gamma ** bisect_right(self.milestones, passed)
            case "cosine":
                length = self.steps(steps_per_epoch) / steps_per_epoch
                position = (done - self.warmup_epochs) / max(length - self.warmup_epochs, 1e-9)
                return self.lr * (1 + math.cos(math.pi * position)) / 2

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        optimizer = torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0,
            weight_decay=self.weight_decay,
            fused=parameters[0].device.type in ("cpu", "cuda"),
        )
        if self.momentum > 0:
            # Zero buffers give the same first step as none, and the fused kernel cannot mix the two kinds: some
            # parameters get their first gradient only after an initialisation stage.
            for parameter in parameters:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    def evaluates(self, epoch: int) -> bool:
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 == self.epochs
