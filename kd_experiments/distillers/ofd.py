"""Overhaul of feature distillation (Heo et al., "A comprehensive overhaul of feature distillation", ICCV 2019)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import deepest, pool_to, source_of
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.supervision.precision import full_precision


def margin(norm: nn.BatchNorm2d) -> Tensor:
    """Expected value of each channel where it is negative, (C,), taking batch norm's output for N(mu, sigma^2).

    E[x | x < 0] = mu - sigma * phi(mu / sigma) / Phi(-mu / sigma); -3 sigma where x < 0 is all but impossible (.001).
    """
    mu, sigma = norm.bias.detach().cpu().double(), norm.weight.detach().cpu().double().abs()
    ratio = mu / sigma.clamp_min(torch.finfo(torch.double).tiny)
    below = torch.special.ndtr(-ratio)
    density = torch.exp(-ratio.square() / 2) / math.sqrt(2 * math.pi)
    expected = mu - sigma * density / below.clamp_min(1e-3)
    return torch.where(below > 1e-3, expected, -3 * sigma).to(norm.weight.dtype)


@full_precision
def ofd(student: Tensor, teacher: Tensor, margins: Tensor) -> Tensor:
    """Partial squared distance to the margin ReLU of the teacher, summed, (B, C, H, W), same, (C,) -> (B,).

    (f^s - max(f^t, m))^2, but 0 where the teacher's neuron is silent and the student's is at or below that target.
    """
    target = torch.maximum(teacher, margins[:, None, None])
    silent = (teacher <= 0) & (student <= target)
    return torch.where(silent, 0.0, (student - target).square()).flatten(1).sum(1)


@DISTILLERS.register("ofd")
class OFD(Distiller):
    """Pre-activations of every stage, the student's after a 1x1 convolution; negative values are one margin."""

    needs: ClassVar[Needs] = "features"

    def inspect_networks(self, student: Network, source: Network) -> None:
        self.norms = tuple(source.preactivation_norms())  # a tuple hides the teacher's modules from this one

    def build_modules(self, student: Output, source: Output) -> None:
        pairs = deepest(student.preactivations, source.preactivations)
        stages = range(len(self.norms) - len(pairs), len(self.norms))
        for place, number in enumerate(stages):
            norm = self.norms[number]
            if norm is None or norm.num_features != pairs[place][1].shape[1]:
                raise UserError(
                    f"method=ofd: stage {number} of the teacher does not end in a batch norm, off which the margins "
                    f"are read; choose another teacher"
                )
            self.register_buffer(f"margin{place}", margin(norm))
        self.connectors = nn.ModuleList(_connector(s.shape[1], t.shape[1]) for s, t in pairs)

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        pairs = deepest(batch.student.preactivations, source_of(batch).preactivations)
        losses = []
        for place, (connect, (student, teacher)) in enumerate(zip(self.connectors, pairs, strict=True)):
            pooled = pool_to(teacher, student.shape[2], student.shape[3])
            loss = ofd(connect(student), pooled, getattr(self, f"margin{place}"))
            losses.append(loss / 2 ** (len(pairs) - place - 1))
        return {"ofd": batch.weights.mean(torch.stack(losses).sum(0))}


def _connector(inputs: int, outputs: int) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.normal_(convolution.weight, std=math.sqrt(2 / outputs))
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs))
