"""Multi-level logit distillation (Jin, Wang and Lin, "Multi-level logit distillation", CVPR 2023)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller
from kd_experiments.distillers.kd import kd
from kd_experiments.distillers.relations import counted
from kd_experiments.schema import NonNegative, Positive
from kd_experiments.supervision.revision import TemperatureValue, column


def batch_correlation(student: Tensor, teacher: Tensor, taught: Tensor, temperature: TemperatureValue) -> Tensor:
    """|P^t P^t' - P^s P^s'|^2 / B, (): how alike two samples' softened predictions are, (B, C) -> (B, B)."""
    p, q = _taught(student, taught, temperature), _taught(teacher, taught, temperature)
    return (p @ p.mT - q @ q.mT).square().sum() / counted(taught, student)[1]


def class_correlation(student: Tensor, teacher: Tensor, taught: Tensor, temperature: TemperatureValue) -> Tensor:
    """|P^t' P^t - P^s' P^s|^2 / C, (): how often two classes are predicted together, (B, C) -> (C, C)."""
    p, q = _taught(student, taught, temperature), _taught(teacher, taught, temperature)
    return (p.mT @ p - q.mT @ q).square().sum() / student.shape[1]


def _taught(logits: Tensor, taught: Tensor, temperature: TemperatureValue) -> Tensor:
    """Softened predictions; 0 in the rows that are not taught, so that they relate to nothing."""
    return torch.softmax(logits / column(temperature), 1) * counted(taught, logits)[0][:, None]


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
        self.relative_temperatures = relative_temperatures
        self.first_view_weight = first_view_weight

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        assert batch.second is not None, "the distiller asks for a second view"
        rows, second = batch.weights, batch.second
        student, source = batch.student.logits, batch.targets.logits
        terms: dict[str, list[Tensor]] = {"instance": [], "batch": [], "class": [], "strong": []}
        for ratio in self.relative_temperatures:
            t = ratio * batch.temperature
            terms["instance"].append(rows.mean(kd(student, source, t)))
            terms["batch"].append(rows.total * batch_correlation(student, source, rows.taught, t))
            terms["class"].append(rows.total * class_correlation(student, source, rows.taught, t))
            strong = kd(second.student.logits, second.targets.logits, ratio * second.temperature)
            terms["strong"].append(rows.mean(strong))
        sums = {name: torch.stack(parts).sum() for name, parts in terms.items()}
        first = {f"mlld_{name}": self.first_view_weight * sums[name] for name in ("instance", "batch", "class")}
        return first | {"mlld_strong": sums["strong"]}
