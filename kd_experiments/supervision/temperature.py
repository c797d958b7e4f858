"""How sharp? One temperature for all, one for each sample, or one for each of the two networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from kd_experiments.schema import Interval, NonNegative, Positive, Registry
from kd_experiments.supervision.revision import Revision, TemperatureValue


@dataclass(frozen=True)
class Temperatures:
    """What teacher and student are softened with, and what takes the place of the factor T^2; a number or (B,) each."""

    teacher: TemperatureValue
    student: TemperatureValue
    scale: TemperatureValue

    @staticmethod
    def of(value: TemperatureValue | Temperatures) -> Temperatures:
        """The same temperature for both networks, with T^2."""
        return value if isinstance(value, Temperatures) else Temperatures(value, value, value**2)

    def times(self, ratio: float) -> Temperatures:
        """Both temperatures `ratio` times as high."""
        return Temperatures(ratio * self.teacher, ratio * self.student, ratio**2 * self.scale)

    def repeated(self, times: int) -> Temperatures:
        """Each sample's temperatures `times` times in a row, (B,) -> (B * times,)."""
        parts = (self.teacher, self.student, self.scale)
        return Temperatures(*(p.repeat_interleave(times) if isinstance(p, Tensor) and p.ndim else p for p in parts))


class Temperature:
    """(student logits, source logits), (B, C) each -> a number, (B,), or a pair of them."""

    minimum: float | None = None  # the clamp of a per-sample temperature
    is_none: ClassVar[bool] = False
    reads_revised: ClassVar[bool] = True  # drawn from what the source says after revision, or from what it said

    def __call__(self, student: Tensor, source: Tensor) -> TemperatureValue | Temperatures:
        raise NotImplementedError


def drawn(part: Temperature, revision: Revision, student: Tensor, source: Tensor, labels: Tensor) -> Temperatures:
    """The temperatures of a batch; logits (B, C), of the source as it gave them.

    Adjust first, temperatures from what was adjusted [paper], unless the adjustment itself needs a temperature.
    """
    if part.reads_revised and not revision.at_temperature:
        source = revision(source, labels)
    return Temperatures.of(part(student, source))


TEMPERATURES: Registry[Temperature] = Registry("temperature")


@TEMPERATURES.register("constant")
@dataclass(frozen=True)
class ConstantTemperature(Temperature):
    """The same temperature for every sample."""

    is_none: ClassVar[bool] = True

    value: Positive

    def __call__(self, student: Tensor, source: Tensor) -> float:
        return self.value


def standardise(logits: Tensor) -> Tensor:
    """(z - mean) / (std + 1e-7) over the classes, std unbiased, (B, C) -> (B, C).

    Sun et al., "Logit standardization in knowledge distillation", CVPR 2024: the student is free to choose the range
    and the variance of its logits. `method.standardise` applies it to any method that compares logits.
    """
    return (logits - logits.mean(1, keepdim=True)) / (deviation(logits)[:, None] + 1e-7)


def deviation(logits: Tensor, smallest: float = 0.0) -> Tensor:
    """Unbiased standard deviation over the classes, at least `smallest`, (B, C) -> (B,).

    Its gradient is 0 where all logits are alike.
    """
    return logits.var(1).clamp_min(max(smallest**2, torch.finfo(logits.dtype).tiny)).sqrt()


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
    """DTD (Wen et al. 2021; formula [code], three agreeing implementations), without gradient.

    Unclamped, a sample far harder than its batch gets a negative temperature, which inverts the target. `minimum` is
    the clamp, which some implementations have at 1 and some have not [code]; None leaves it out.
    """

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
    minimum: Positive | None = 1.0

    def weights(self, student: Tensor, source: Tensor) -> Tensor:
        return flsw_weights(student, source, self.gamma)


@TEMPERATURES.register("dtd_cwsm")
@dataclass(frozen=True)
class CWSM(DynamicTemperature):
    """Hard where the student is not confident."""

    tau0: Annotated[float, Interval(at_least=1)]
    beta: NonNegative
    minimum: Positive | None = 1.0

    def weights(self, student: Tensor, source: Tensor) -> Tensor:
        return cwsm_weights(student)


@TEMPERATURES.register("dtkd")
@dataclass(frozen=True)
class LargestLogit(Temperature):
    """DTKD (Wei and Bai, "Dynamic temperature knowledge distillation", arXiv 2404.12711 [code]).

    T_t = 2T u / (u + v) and T_s = 2T v / (u + v), u and v the largest logits of teacher and student; T^2 becomes
    T_t T_s. The gradient flows through v, as in the public code. There u or v below 0 would give a negative
    temperature, and u + v = 0 a pole: here both are at least `floor` [ours]. They depend on a constant added to the
    logits, which predictions do not: `centre` takes each row's mean off first [ours]. Drawn from what the teacher said
    before revision, whose logits may have another constant.
    """

    reads_revised: ClassVar[bool] = False

    value: Positive
    floor: Positive
    centre: bool

    def __call__(self, student: Tensor, source: Tensor) -> Temperatures:
        u, v = (self._largest(logits) for logits in (source, student))
        teacher, pupil = 2 * self.value * u / (u + v), 2 * self.value * v / (u + v)
        return Temperatures(teacher, pupil, teacher * pupil)

    def _largest(self, logits: Tensor) -> Tensor:
        logits = logits - logits.mean(1, keepdim=True) if self.centre else logits
        return logits.amax(1).clamp_min(self.floor)


SMALLEST_DEVIATION = 1e-4  # of logits; a row that is nearly constant says nothing, at any temperature


@TEMPERATURES.register("normkd")
@dataclass(frozen=True)
class LogitDeviation(Temperature):
    """NormKD (Chi et al., "NormKD: normalized logits for knowledge distillation", arXiv 2308.00520 [code]).

    T = `norm` times the unbiased standard deviation of a row's logits, for each network its own; T^2 becomes T_t^2.
    The gradient flows through the student's, as in the public code, which has no floor under it [ours].
    """

    reads_revised: ClassVar[bool] = False

    norm: Positive

    def __call__(self, student: Tensor, source: Tensor) -> Temperatures:
        teacher, pupil = (self.norm * deviation(logits, SMALLEST_DEVIATION) for logits in (source, student))
        return Temperatures(teacher, pupil, teacher**2)
