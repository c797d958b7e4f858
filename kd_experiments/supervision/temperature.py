"""How sharp? One temperature for all, or one for each sample (dynamic temperature distillation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from kd_experiments.schema import Interval, NonNegative, Positive, Registry


class Temperature:
    """(student logits, source logits), (B, C) each -> a number, or (B,) without gradient."""

    minimum: ClassVar[float | None] = None  # the clamp of a per-sample temperature
    is_none: ClassVar[bool] = False

    def __call__(self, student: Tensor, source: Tensor) -> float | Tensor:
        raise NotImplementedError


TEMPERATURES: Registry[Temperature] = Registry("temperature")


@TEMPERATURES.register("constant")
@dataclass(frozen=True)
class ConstantTemperature(Temperature):
    """The same temperature for every sample."""

    is_none: ClassVar[bool] = True

    value: Positive

    def __call__(self, student: Tensor, source: Tensor) -> float:
        return self.value


def flsw_weights(student: Tensor, source: Tensor, gamma: float) -> Tensor:
    """Focal-loss-style weights (1 - cos(z^s, z^t))^gamma, (B,); 1e-4 is added to each norm [code]."""
    norms = (student.norm(dim=1) + 1e-4) * (source.norm(dim=1) + 1e-4)
    return (1 - (student * source).sum(1) / norms).clamp_min(0) ** gamma


def cwsm_weights(student: Tensor) -> Tensor:
    """Confidence weights 1 / (max softmax(z^s) + 1e-3), (B,) [code]."""
    return 1 / (torch.softmax(student, 1).amax(1) + 1e-3)


def dynamic_temperature(weights: Tensor, tau0: float, beta: float) -> Tensor:
    """tau_x = tau0 + (mean(w) - w_x) * beta, unclamped, (B,): a hard sample gets a sharp target."""
    return tau0 + (weights.mean() - weights) * beta


class DynamicTemperature(Temperature):
    """DTD (Wen et al. 2021; formula [code], three agreeing implementations), clamped at 1 [code].

    Unclamped, a sample far harder than its batch would get a negative temperature, which inverts the target.
    """

    minimum: ClassVar[float | None] = 1.0
    tau0: float
    beta: float

    def weights(self, student: Tensor, source: Tensor) -> Tensor:
        raise NotImplementedError

    def __call__(self, student: Tensor, source: Tensor) -> Tensor:
        with torch.no_grad():
            tau = dynamic_temperature(self.weights(student, source), self.tau0, self.beta)
            return tau if self.minimum is None else tau.clamp_min(self.minimum)


@TEMPERATURES.register("dtd_flsw")
@dataclass(frozen=True)
class FLSW(DynamicTemperature):
    """Hard where student and teacher disagree."""

    tau0: Annotated[float, Interval(at_least=1)]
    beta: NonNegative
    gamma: Positive

    def weights(self, student: Tensor, source: Tensor) -> Tensor:
        return flsw_weights(student, source, self.gamma)


@TEMPERATURES.register("dtd_cwsm")
@dataclass(frozen=True)
class CWSM(DynamicTemperature):
    """Hard where the student is not confident."""

    tau0: Annotated[float, Interval(at_least=1)]
    beta: NonNegative

    def weights(self, student: Tensor, source: Tensor) -> Tensor:
        return cwsm_weights(student)
