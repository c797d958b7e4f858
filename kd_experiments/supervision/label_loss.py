"""What does the label itself say? Losses of the student's logits and the given label, one value a sample.

q is the one-hot label, p = softmax(z), u uniform, H(a, b) = -sum a log b, H(p) = H(p, p). The family and its notation
are those of ProSelfLC (Wang et al., CVPR 2021 [paper and code]).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_experiments.schema import Fraction, Positive, Registry
from kd_experiments.supervision.precision import full_precision
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.weighting import entropy


class LabelLoss:
    """(logits (B, C), labels (B,), progress) -> losses (B,)."""

    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        raise NotImplementedError


LABEL_LOSSES: Registry[LabelLoss] = Registry("label_loss")


@full_precision
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

    @full_precision
    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        uniform = -torch.log_softmax(logits, 1).mean(1)
        return (1 - self.epsilon) * cross_entropy(logits, labels) + self.epsilon * uniform


@LABEL_LOSSES.register("confidence_penalty")
@dataclass(frozen=True)
class ConfidencePenalty(LabelLoss):
    """(1 - epsilon) H(q, p) - epsilon H(p)."""

    epsilon: Fraction

    @full_precision
    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return (1 - self.epsilon) * cross_entropy(logits, labels) - self.epsilon * entropy(logits)


@LABEL_LOSSES.register("boot_soft")
@dataclass(frozen=True)
class BootSoft(LabelLoss):
    """(1 - epsilon) H(q, p) + epsilon H(p); the gradient flows through both arguments (entropy minimisation)."""

    epsilon: Fraction

    @full_precision
    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return (1 - self.epsilon) * cross_entropy(logits, labels) + self.epsilon * entropy(logits)


def corrected(logits: Tensor, labels: Tensor, trust: Tensor | float, soften: float, detached: bool) -> Tensor:
    """H((1 - e) q + e softmax(z / T), p) with e = `trust` and T = `soften`, (B, C) -> (B,).

    T < 1 sharpens the prediction that joins the label; `detached` keeps the gradient out of it.
    """
    belief = torch.softmax((logits.detach() if detached else logits) / soften, 1)
    own = -(belief * torch.log_softmax(logits, 1)).sum(1)
    return (1 - trust) * cross_entropy(logits, labels) + trust * own


@LABEL_LOSSES.register("joint_soft")
@dataclass(frozen=True)
class JointSoft(LabelLoss):
    """Label correction with a fixed trust: H((1 - epsilon) q + epsilon softmax(z / T), p), the target held fixed.

    The further baseline of ProSelfLC's authors [code], whose T is .5 or .6.
    """

    epsilon: Fraction
    logit_soften_T: Positive

    @full_precision
    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return corrected(logits, labels, self.epsilon, self.logit_soften_T, detached=True)


@LABEL_LOSSES.register("proselflc")
@dataclass(frozen=True)
class ProSelfLC(LabelLoss):
    """H((1 - e) q + e softmax(z / T), p) with e = g(t) l(p): trust the prediction late (g) and where it is sure (l).

    g = 1 / (1 + exp(-B (t/Gamma - transit))); e carries no gradient, and the prediction in the target none if
    `detached`. `trust` is l: 1 (global), 1 - H / H(u) (entropy) or the largest probability (maxp), of the softened
    prediction. CVPR 2021: entropy, transit 1/2, T = 1, not detached [paper, code]; the others are of the authors'
    later code, which detaches [code].
    """

    B: Positive
    trust: Literal["global", "entropy", "maxp"] = "entropy"
    transit_time_ratio: Fraction = 0.5
    logit_soften_T: Positive = 1.0
    detached: bool = False

    def epsilon(self, logits: Tensor, progress: Progress) -> Tensor:
        """e of each sample, (B,), without gradient."""
        logits = logits.detach() / self.logit_soften_T
        late = torch.sigmoid(self.B * (progress.fraction - self.transit_time_ratio))
        match self.trust:
            case "global":
                return late.expand(len(logits))
            case "entropy":
                return late * (1 - entropy(logits) / math.log(logits.shape[1]))
            case "maxp":
                return late * torch.softmax(logits, 1).amax(1)

    @full_precision
    def __call__(self, logits: Tensor, labels: Tensor, progress: Progress) -> Tensor:
        return corrected(logits, labels, self.epsilon(logits, progress), self.logit_soften_T, self.detached)
