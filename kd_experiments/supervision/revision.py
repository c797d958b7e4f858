"""What should the teacher have said? Maps logits -> logits that touch only the samples the teacher gets wrong.

A map defined on probabilities at temperature T returns T * log(p~), because softmax(T * log(p~) / T) = p~: every
distiller that reads logits takes every revision unchanged. It asks for it at each temperature at which it compares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from kd_experiments.schema import Interval, Registry

TemperatureValue = float | Tensor


def wrong_rows(logits: Tensor, labels: Tensor) -> Tensor:
    """Samples whose arg max is not the label: (B, C), (B,) -> (B,) bool."""
    return logits.argmax(1) != labels


def column(temperature: TemperatureValue) -> TemperatureValue:
    """A temperature that broadcasts against (B, C): scalars stay, (B,) becomes (B, 1)."""
    return temperature[:, None] if isinstance(temperature, Tensor) and temperature.ndim == 1 else temperature


def _replace(probabilities: Tensor, index: Tensor, values: Tensor) -> Tensor:
    return probabilities.scatter(1, index[:, None], values[:, None])


def _pick(values: Tensor, index: Tensor) -> Tensor:
    return values.gather(1, index[:, None])[:, 0]


class Revision:
    """Base of all revisions. `at_temperature` tells whether the result depends on the distiller's temperature."""

    at_temperature: ClassVar[bool] = False
    is_none: ClassVar[bool] = False

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        """Revised logits of every row, (B, C); rows the teacher gets right are thrown away by the caller."""
        raise NotImplementedError

    def __call__(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue = 1.0) -> Tensor:
        """Revise the wrong rows of (B, C) logits; right rows come back bit for bit."""
        wrong = wrong_rows(logits, labels)
        return torch.where(wrong[:, None], self.revise(logits, labels, temperature), logits)


REVISIONS: Registry[Revision] = Registry("revision")


@REVISIONS.register("none")
@dataclass(frozen=True)
class NoRevision(Revision):
    """The teacher is taken at its word."""

    is_none: ClassVar[bool] = True

    def __call__(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue = 1.0) -> Tensor:
        return logits


def label_revision(logits: Tensor, labels: Tensor, eta: float, temperature: TemperatureValue = 1.0) -> Tensor:
    """Label revision of LRDS (Lan et al. 2025 [paper]) on every row: T * log(beta * p + (1 - beta) * onehot(y)).

    p = softmax(z / T), beta = eta / (p_max - p_y + 1); on a wrong row p~_y - p~_argmax = 1 - eta exactly.
    """
    temperature = column(temperature)
    log_p = torch.log_softmax(logits / temperature, 1)
    p = log_p.exp()
    p_label = _pick(p, labels)
    beta = eta / (p.amax(1) - p_label + 1)
    log_mixed = log_p + beta.log()[:, None]
    return temperature * _replace(log_mixed, labels, torch.log(beta * p_label + (1 - beta)))


@REVISIONS.register("label_revision")
@dataclass(frozen=True)
class LabelRevision(Revision):
    """LRDS's revision; `temperature` "one" is the public code's choice [code], "distiller" is an option [ours]."""

    eta: Annotated[float, Interval(over=0, under=1)]
    temperature: Literal["one", "distiller"]

    @property
    def at_temperature(self) -> bool:  # type: ignore[override]  # a class fact elsewhere, a choice here
        return self.temperature == "distiller"

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        return label_revision(logits, labels, self.eta, temperature if self.at_temperature else 1.0)


def probability_shift(logits: Tensor, labels: Tensor) -> Tensor:
    """Swap the values of the label and of the arg max on every row, (B, C) -> (B, C).

    Probability shift (PS) of Wen et al. 2021 [paper] and the `swap` rectification of BTKD (Zhang et al. 2025 [code]).
    Softmax is monotone and shares its denominator, so swapping logits swaps probabilities at any temperature.
    """
    predicted = logits.argmax(1)
    swapped = _replace(logits, labels, _pick(logits, predicted))
    return _replace(swapped, predicted, _pick(logits, labels))


@REVISIONS.register("probability_shift")
@dataclass(frozen=True)
class ProbabilityShift(Revision):
    """PS, also BTKD's swap."""

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        return probability_shift(logits, labels)


@REVISIONS.register("smoothed_label")
@dataclass(frozen=True)
class SmoothedLabel(Revision):
    """LSR of Wen et al. 2021 [paper]: the wrong prediction is replaced by the smoothed label, whatever T is.

    Target (1 - epsilon) * onehot(y) + epsilon / C over all C classes; the logits are T times its logarithm.
    """

    at_temperature: ClassVar[bool] = True
    epsilon: Annotated[float, Interval(over=0, under=1)]

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        target = torch.full_like(logits, self.epsilon / logits.shape[1])
        target = _replace(target, labels, target.new_full(labels.shape, 1 - self.epsilon) + target[:, 0])
        return column(temperature) * target.log()


def two_class_average(values: Tensor, labels: Tensor) -> Tensor:
    """BTKD's `average` of the label's value a and the arg max's value b, on every row of (B, C) values.

    s = a + b, a' = (a + 1) / 2, b' = b / 2; a <- a' s / (a' + b'), b <- b' s / (a' + b'), so that a + b is kept.
    """
    predicted = values.argmax(1)
    a, b = _pick(values, labels), _pick(values, predicted)
    scale = (a + b) / ((a + 1) / 2 + b / 2)
    averaged = _replace(values, predicted, b / 2 * scale)
    return _replace(averaged, labels, (a + 1) / 2 * scale)


def _on_probabilities(
    change: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor, temperature: TemperatureValue
) -> Tensor:
    """The logits whose softmax at this temperature is `change(softmax(z / T), labels)`, (B, C)."""
    temperature = column(temperature)
    p = torch.softmax(logits / temperature, 1)
    smallest = torch.finfo(p.dtype).tiny  # a probability that underflows to 0 has no logarithm
    return temperature * change(p, labels).clamp_min(smallest).log()


@REVISIONS.register("two_class_average")
@dataclass(frozen=True)
class TwoClassAverage(Revision):
    """BTKD's average on probabilities at the distiller's temperature (Zhang et al. 2025 [code])."""

    at_temperature: ClassVar[bool] = True

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        return _on_probabilities(two_class_average, logits, labels, temperature)


@REVISIONS.register("two_class_average_logits")
@dataclass(frozen=True)
class TwoClassAverageLogits(Revision):
    """BTKD's average on raw logits, as in its later code [code].

    The formula divides by (z_y + z_w + 1) / 2, which vanishes at z_y + z_w = -1, and its logits need not favour the
    label. Rows nearer to the singularity than `guard` are swapped (probability shift) instead.
    """

    guard: Annotated[float, Interval(over=0)]

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        distance = (_pick(logits, labels) + logits.amax(1) + 1).abs()
        safe = (distance >= self.guard)[:, None]
        averaged = two_class_average(torch.where(safe, logits, 0.0), labels)
        return torch.where(safe, averaged, probability_shift(logits, labels))


def label_average(values: Tensor, labels: Tensor) -> Tensor:
    """(x + onehot(y)) / 2 over all classes, on every row of (B, C) values (BTKD's `calibrate2` [code])."""
    return _replace(values / 2, labels, (_pick(values, labels) + 1) / 2)


@REVISIONS.register("label_average")
@dataclass(frozen=True)
class LabelAverage(Revision):
    """BTKD's average with the label, on probabilities at the distiller's temperature: they sum to 1, p_y > 1/2.

    Defined in every version of the public code; none of its scripts that could be read calls it [code].
    """

    at_temperature: ClassVar[bool] = True

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        return _on_probabilities(label_average, logits, labels, temperature)


@REVISIONS.register("label_average_logits")
@dataclass(frozen=True)
class LabelAverageLogits(Revision):
    """BTKD's average with the label, on raw logits [code]: it halves them all, which doubles the temperature, and adds
    1/2 to the label's, which need not be the largest afterwards.
    """

    def revise(self, logits: Tensor, labels: Tensor, temperature: TemperatureValue) -> Tensor:
        return label_average(logits, labels)
