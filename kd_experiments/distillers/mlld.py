"""Multi-level logit distillation (Jin, Wang and Lin, "Multi-level logit distillation", CVPR 2023)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, refuse_empty
from kd_experiments.distillers.kd import kd, softened
from kd_experiments.distillers.relations import counted
from kd_experiments.schema import NonNegative, Positive
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue
from kd_experiments.supervision.temperature import Temperatures


@full_precision
def batch_correlation(
    student: Tensor, teacher: Tensor, taught: Tensor, temperature: TemperatureValue | Temperatures
) -> Tensor:
    """|P^t P^t' - P^s P^s'|^2 / B, (): how alike two samples' softened predictions are, (B, C) -> (B, B)."""
    p, q = _taught(student, teacher, taught, temperature)
    return (p @ p.mT - q @ q.mT).square().sum() / counted(taught, student)[1]


@full_precision
def class_correlation(
    student: Tensor, teacher: Tensor, taught: Tensor, temperature: TemperatureValue | Temperatures
) -> Tensor:
    """|P^t' P^t - P^s' P^s|^2 / C, (): how often two classes are predicted together, (B, C) -> (C, C)."""
    p, q = _taught(student, teacher, taught, temperature)
    return (p.mT @ p - q.mT @ q).square().sum() / student.shape[1]


def _taught(
    student: Tensor, teacher: Tensor, taught: Tensor, temperature: TemperatureValue | Temperatures
) -> tuple[Tensor, Tensor]:
    """Softened predictions; 0 in the rows that are not taught, so that they relate to nothing."""
    t, rows = Temperatures.of(temperature), counted(taught, student)[0][:, None]
    return softened(student, t.student).exp() * rows, softened(teacher, t.teacher).exp() * rows


@DISTILLERS.register("mlld")
class MLLD(Distiller):
    """KD of both views at several temperatures, and correlations over batch and classes of the first view.

    `relative_temperatures` multiply `method.temperature`, and so every sample's own [ours]. Normalisers, and that the
    strong view's correlations do not count, as in the public code [code]; so is `first_view_weight`: that code scales
    every term of the first view with the share of rows at or below the median of the teacher's confidence, a half. Its
    strong view takes three of the five temperatures and the first view the other two once more; here each view takes
    all five [ours].
    """

    needs_second_view: ClassVar[bool] = True
    uses_temperature: ClassVar[bool] = True

    def __init__(self, relative_temperatures: tuple[Positive, ...], first_view_weight: NonNegative) -> None:
        super().__init__()
        refuse_empty("method.relative_temperatures", relative_temperatures, "[1.0]")
        self.relative_temperatures = relative_temperatures
        self.first_view_weight = first_view_weight

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        assert batch.second is not None, "the distiller asks for a second view"
        rows, second = batch.weights, batch.second
        student = batch.student.logits
        terms: dict[str, list[Tensor]] = {"instance": [], "batch": [], "class": [], "strong": []}
        for ratio in self.relative_temperatures:
            t = batch.temperature.times(ratio)
            source = batch.targets.at(t)
            terms["instance"].append(rows.mean(kd(student, source, t)))
            terms["batch"].append(rows.total * batch_correlation(student, source, rows.taught, t))
            terms["class"].append(rows.total * class_correlation(student, source, rows.taught, t))
            t = second.temperature.times(ratio)
            terms["strong"].append(rows.mean(kd(second.student.logits, second.targets.at(t), t)))
        sums = {name: torch.stack(parts).sum() for name, parts in terms.items()}
        first = {f"mlld_{name}": self.first_view_weight * sums[name] for name in ("instance", "batch", "class")}
        return first | {"mlld_strong": sums["strong"]}
