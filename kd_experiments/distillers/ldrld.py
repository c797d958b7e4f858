"""LDRLD: local dense relational logit distillation (Xu et al., ICCV 2025, arXiv 2507.15911).

Formula and defaults as in the authors' code [code].
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.dkd import LEFT_OUT
from kd_experiments.distillers.kd import divergence, kd
from kd_experiments.errors import UserError
from kd_experiments.schema import Interval, NonNegative
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.revision import TemperatureValue, column
from kd_experiments.supervision.temperature import Temperatures


def pair_log_probabilities(logits: Tensor, first: Tensor, second: Tensor, temperature: TemperatureValue) -> Tensor:
    """Log-probabilities of one class against another, (B, k), (P,), (P,) -> (B, P, 2)."""
    difference = (logits[:, first] - logits[:, second]) / column(temperature)
    return torch.stack([F.logsigmoid(difference), F.logsigmoid(-difference)], 2)


@full_precision
def local_relations(
    student: Tensor, teacher: Tensor, k: int, decay: float, temperature: TemperatureValue | Temperatures
) -> Tensor:
    """T^2 * [sum over pairs i < j of w_ij KL on {i, j} + KL on all k] / (k (k - 1) / 2 + 1), (B, C) -> (B,).

    The classes are the student's k most likely ones, i and j their ranks from 1, w_ij = 2 / (1.5 + j - i) *
    exp(-decay * (i + j)).
    """
    t = Temperatures.of(temperature)
    top = student.topk(k, 1).indices
    student, teacher = student.gather(1, top), teacher.gather(1, top)
    first, second = torch.triu_indices(k, k, 1, device=student.device)
    log_p = pair_log_probabilities(teacher, first, second, t.teacher)
    log_q = pair_log_probabilities(student, first, second, t.student)
    i, j = first.to(student.dtype) + 1, second.to(student.dtype) + 1
    weight = 2 / (1.5 + j - i) * torch.exp(-decay * (i + j))
    pairs = (weight * divergence(log_p.mT, log_q.mT)).sum(1)
    return (t.scale * pairs + kd(student, teacher, t)) / (len(first) + 1)


@full_precision
def remaining_classes(student: Tensor, teacher: Tensor, k: int, temperature: TemperatureValue | Temperatures) -> Tensor:
    """T^2 * KL over the classes outside the student's k most likely ones, (B, C) -> (B,)."""
    top = torch.zeros_like(student, dtype=torch.bool).scatter(1, student.topk(k, 1).indices, True)
    return kd(student.masked_fill(top, LEFT_OUT), teacher.masked_fill(top, LEFT_OUT), temperature)


@DISTILLERS.register("ldrld")
class LDRLD(LogitDistiller):
    """How the student's likeliest classes relate, two by two and together, and the other classes among themselves."""

    term: ClassVar[str] = "ldrld"
    uses_temperature: ClassVar[bool] = True

    def __init__(
        self,
        alpha: NonNegative,
        beta: NonNegative,
        k: Annotated[int, Interval(at_least=2, at_most=10**9)],
        decay: NonNegative,
    ) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta
        self.k = k
        self.decay = decay

    def inspect_labels(self, labels: Tensor, classes: int) -> None:
        if self.k >= classes:
            advice = f"give at most method.k={classes - 1}" if classes > 2 else "choose another method"
            raise UserError(f"method.k={self.k}: must be under the number of classes, {classes}; {advice}")

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student, t = batch.student.logits, batch.temperature
        teacher = batch.targets.at(t)
        local = local_relations(student, teacher, self.k, self.decay, t)
        return self.alpha * local + self.beta * remaining_classes(student, teacher, self.k, t)
