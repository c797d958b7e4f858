"""How a network is trained: epochs or iterations, batch size, optimiser and learning-rate schedule."""

from __future__ import annotations

import inspect
import math
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import nn

from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.schema import Count, Fraction, Interval, NonNegative, Positive, When

# One cycle: the share of the steps in which the learning rate rises, and its start and end as parts of the peak; the
# values of torch.optim.lr_scheduler.OneCycleLR (Smith & Topin, 2018).
RISE, START, END = 0.3, 1 / 25, 1 / 25e4


@dataclass(frozen=True)
class Recipe:
    """`recipe.*`; SGD is the optimiser of every protocol the suite reproduces.

    A training ends after `epochs` or, where `iterations` is given, after so many steps of the optimiser, whichever
    comes first; the last epoch is cut short then. `milestones` are counted in the same unit.
    """

    name: str
    epochs: Count
    batch_size: Count
    lr: Positive
    momentum: Annotated[float, Interval(at_least=0, under=1), When(optimizer="sgd")]
    nesterov: Annotated[bool, When(optimizer="sgd", momentum=bool)]
    weight_decay: NonNegative
    schedule: Literal["constant", "cosine", "step", "one_cycle"]
    # epochs (iterations) after which the learning rate is multiplied by gamma
    milestones: Annotated[tuple[Count, ...], When(schedule="step")]
    gamma: Annotated[Fraction, When(schedule="step")]
    # the learning rate rises linearly over this many epochs; one_cycle has its own rise
    warmup_epochs: Annotated[NonNegative, When(schedule=lambda schedule: schedule != "one_cycle")]
    evaluate_every: Count  # epochs between evaluations; the last epoch is always evaluated
    iterations: Count | None = None  # null: the training and its milestones are counted in epochs
    optimizer: str = "sgd"  # or another of torch.optim by name: adam, adamw, rmsprop, ...
    clip_norm: Positive | None = (
        None  # gradients are scaled down to this norm, taken over all of a learner's parameters
    )
    ema_decay: Annotated[float, Interval(at_least=0, under=1)] = 0.0  # of averaged weights, which are then the result

    def __post_init__(self) -> None:
        _optimizer_class(self.optimizer)

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
        if self.schedule == "one_cycle":
            return self.lr * _one_cycle(steps_done, self.steps(steps_per_epoch))
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

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of these parameters; it takes the learning rate as a number or a () tensor, if it can."""
        parameters = list(parameters)
        kind: Any = _plain(_optimizer_class(self.optimizer))
        device = parameters[0].device.type
        wishes: dict[str, Any] = {
            "weight_decay": self.weight_decay,
            "fused": True if device in ("cpu", "cuda") else None,
            "capturable": device == "cuda",
        }
        if issubclass(kind, torch.optim.SGD):  # the others keep torch's own averages
            wishes |= {"momentum": self.momentum, "nesterov": self.nesterov and self.momentum > 0}
        known = inspect.signature(kind).parameters
        try:
            optimizer = kind(parameters, lr=self.lr, **{key: wishes[key] for key in wishes if key in known})
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"recipe.optimizer={self.optimizer}: {error}") from error
        if issubclass(kind, torch.optim.SGD) and self.momentum > 0:
            # Zero buffers give the same first step as none, and the fused kernel cannot mix the two kinds: some
            # parameters get their first gradient only after an initialisation stage.
            for parameter in parameters:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return optimizer

    def evaluates(self, epoch: int) -> bool:
        return (epoch + 1) % self.evaluate_every == 0 or epoch + 1 == self.epochs


def _optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The optimiser of torch.optim of this name, in small letters.

    LBFGS evaluates its loss several times in a step, and SparseAdam takes no dense gradients: neither fits our loop.
    """
    known = {
        key.lower(): value
        for key, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer)
    }
    for key in ("optimizer", "lbfgs", "sparseadam"):
        known.pop(key, None)
    if name not in known:
        raise no_such_choice("recipe.optimizer", name, known)
    return known[name]


def _plain(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """The same optimiser without what torch wraps its methods in for `torch.compile`, which the suite does not use.

    The first call of a wrapped one imports the compiler, longer than a small run takes to begin otherwise.
    """
    names = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")
    bare = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), {**bare, "step": torch.no_grad()(inspect.unwrap(kind.step))})


def _one_cycle(step: int, steps: int) -> float:
    """The learning rate of a step as a part of its peak: cosines from START up to 1 and down to END."""
    peak, last = max(RISE * steps - 1, 1e-9), max(steps - 1, 1)
    if step <= peak:
        return _cosine(START, 1.0, step / peak)
    return _cosine(1.0, END, (step - peak) / max(last - peak, 1e-9))


def _cosine(start: float, end: float, position: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * position)) / 2
