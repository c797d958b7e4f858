"""CTKD, global version (Li et al., "Curriculum temperature for knowledge distillation", AAAI 2023)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, LogitDistiller
from kd_experiments.distillers.kd import kd
from kd_experiments.schema import Count, NonNegative, Positive
from kd_experiments.supervision.progress import Progress


def reversal(progress: Progress, epochs: int) -> Tensor:
    """What the gradient of theta is multiplied with, (): a cosine from 0 down to -1, reached after `epochs`.

    (cos(pi * min(e + 1, epochs) / epochs) - 1) / 2; the public code counts epochs from 1 [code].
    """
    return (torch.cos(math.pi * (progress.epoch + 1).clamp_max(epochs) / epochs) - 1) / 2


@DISTILLERS.register("ctkd")
class CTKD(LogitDistiller):
    """KD at T = lowest + span * sigmoid(theta), where theta learns to *raise* the loss: ever harder lessons."""

    term: ClassVar[str] = "kd"

    def __init__(self, lowest: Positive, span: NonNegative, theta: float, reversal_epochs: Count) -> None:
        super().__init__()
        self.lowest = lowest
        self.span = span
        self.theta = nn.Parameter(torch.tensor(theta))
        self.reversal_epochs = reversal_epochs

    def learned_temperature(self, progress: Progress) -> Tensor:
        """T, (); its value does not depend on the progress, its gradient does."""
        still = self.theta.detach()
        reversed_theta = still + reversal(progress, self.reversal_epochs) * (self.theta - still)
        return self.lowest + self.span * torch.sigmoid(reversed_theta)

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        temperature = self.learned_temperature(batch.progress)
        return kd(batch.student.logits, batch.targets.at(temperature), temperature)
