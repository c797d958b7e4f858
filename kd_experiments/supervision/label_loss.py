"""What does the label itself say? Losses of the student's logits and the given label, one value a sample.

q is the one-hot label, p = softmax(z), u uniform, H(a, b) = -sum a log b, H(p) = H(p, p). The family and its notation
are those of ProSelfLC (Wang et al., CVPR 2021 [paper and code]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_experiments.schema import Fraction, Positive, Registry
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.weighting import entropy


class LabelLoss:
    """(logits (B, C), labels (B,), progress) -> losses (B,)."""

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        raise NotImplementedError


LABEL_LOSSES: Registry[LabelLoss] = Registry("label_loss")


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """H(q, p), (B,)."""
    return F.cross_entropy(logits, labels, reduction="none")


@LABEL_LOSSES.register("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(LabelLoss):
    """H(q, p)."""

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return cross_entropy(logits, labels)


@LABEL_LOSSES.register("label_smoothing")
@dataclass(frozen=True)
class LabelSmoothing(LabelLoss):
    """(1 - epsilon) H(q, p) + epsilon H(u, p)."""

    epsilon: Fraction

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        uniform = -torch.log_softmax(logits, 1).mean(1)
        return (1 - self.epsilon) * cross_entropy(logits, labels) + self.epsilon * uniform


@LABEL_LOSSES.register("confidence_penalty")
@dataclass(frozen=True)
class ConfidencePenalty(LabelLoss):
    """(1 - epsilon) H(q, p) - epsilon H(p)."""

    epsilon: Fraction

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return (1 - self.epsilon) * cross_entropy(logits, labels) - self.epsilon * entropy(logits)


@LABEL_LOSSES.register("boot_soft")
@dataclass(frozen=True)
class BootSoft(LabelLoss):
    """(1 - epsilon) H(q, p) + epsilon H(p); the gradient flows through both arguments (entropy minimisation)."""

    epsilon: Fraction

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return (1 - self.epsilon) * cross_entropy(logits, labels) + self.epsilon * entropy(logits)


@LABEL_LOSSES.register("proselflc")
@dataclass(frozen=True)
class ProSelfLC(LabelLoss):
    """H((1 - e) q + e p, p) with e = g(t) l(p): trust the prediction late (g) and where it is confident (l).

    g = 1 / (1 + exp(-B (t/Gamma - 1/2))), l = 1 - H(p) / H(u); e carries no gradient.
    """

    B: Positive

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        uncertainty = entropy(logits)
        with torch.no_grad():
            trust_in_time = torch.sigmoid(self.B * (progress.fraction - 0.5))
            trust = trust_in_time * (1 - uncertainty / math.log(logits.shape[1]))
        return (1 - trust) * cross_entropy(logits, labels) + trust * uncertainty
