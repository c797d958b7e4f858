"""How much does the source count, and when? A weight for each sample; a term is the weighted sum over the batch.

Weights carry their normaliser: 1/B for a mean over the batch, 1/|subset| for a mean over a subset. An empty subset
weighs exactly 0, never NaN.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from kd_experiments.schema import NonNegative, Positive, Registry
from kd_experiments.supervision.progress import Progress


@dataclass(frozen=True)
class SampleWeights:
    """The weights of one batch, (B,)."""

    weight: Tensor

    def mean(self, losses: Tensor) -> Tensor:
        """Weighted sum of per-sample losses (B,) -> ()."""
        return (self.weight * losses).sum()

    @property
    def total(self) -> Tensor:
        """Sum of the weights, (): what a term over the whole batch (a relation, a correlation) is multiplied with."""
        return self.weight.sum()

    @property
    def taught(self) -> Tensor:
        """Which samples the source teaches at all, (B,) bool."""
        return self.weight > 0


def subset_mean(members: Tensor) -> Tensor:
    """Weights of a mean over the members of a 0/1 mask (B,); all zero where there is none."""
    return members / members.sum().clamp_min(1)


class Weighting:
    """(source logits (B, C), wrong (B,) bool, selected (B,) 0/1 float, progress) -> weights (B,)."""

    is_none: ClassVar[bool] = False

    def __call__(self, source: Tensor, wrong: Tensor, selected: Tensor, progress: Progress) -> Tensor:
        raise NotImplementedError

    def statistics(self, classes: int, progress: Progress) -> dict[str, Tensor]:
        """What of the weighting is worth a curve, by name; () each."""
        return {}


WEIGHTINGS: Registry[Weighting] = Registry("weighting")


@WEIGHTINGS.register("constant")
@dataclass(frozen=True)
class ConstantWeighting(Weighting):
    """Every selected sample counts alike; the mean is over the whole batch."""

    is_none: ClassVar[bool] = True

    def __call__(self, source: Tensor, wrong: Tensor, selected: Tensor, progress: Progress) -> Tensor:
        return selected / len(selected)


@WEIGHTINGS.register("right_wrong")
@dataclass(frozen=True)
class RightWrong(Weighting):
    """LRDS's lambda1 on the samples the teacher gets right and lambda2 on the others, each a mean over its own rows.

    The names are the paper's [paper]; the form and lambda1 = 4, lambda2 = 1 are a public re-implementation's, for 100
    classes and more [code]. Without a value lambda1 is 4 * min(1, C / 100) [ours]: the squared error is a mean over
    classes, so this keeps the weight of a single logit's error. Unscaled, the curvature 2 * lambda1 / C of the last
    layer is over what SGD with lr .1 and momentum can follow for 10 classes, and training diverges.
    """

    lambda1: NonNegative | None
    lambda2: NonNegative

    def __call__(self, source: Tensor, wrong: Tensor, selected: Tensor, progress: Progress) -> Tensor:
        lambda1 = 4 * min(1.0, source.shape[1] / 100) if self.lambda1 is None else self.lambda1
        return lambda1 * subset_mean(selected * ~wrong) + self.lambda2 * subset_mean(selected * wrong)


@WEIGHTINGS.register("right_then_wrong")
@dataclass(frozen=True)
class RightThenWrong(Weighting):
    """BTKD's dynamic learning: b(e) on the easy samples (teacher right), 1 - b(e) on the hard ones [code].

    cos2 is the paper's b = cos^2(pi/2 * e/E). `easy_only` leaves the hard samples out (bias elimination alone).
    `mean` over its own subset is the method; over the batch is an ablation.
    """

    schedule: Literal["cos2", "linear", "constant", "reversed", "ramp", "easy_only"]
    mean: Literal["subset", "batch"]

    def easy_share(self, progress: Progress) -> Tensor:
        """b(e), ()."""
        position = progress.epoch / progress.epochs
        match self.schedule:
            case "cos2":
                return torch.cos(math.pi / 2 * position) ** 2
            case "reversed":
                return torch.sin(math.pi / 2 * position) ** 2
            case "linear":
                return 1 - position
            case "ramp":  # min(e / 20, 1)
                return (progress.epoch / 20).clamp_max(1)
            case "constant":
                return torch.full_like(position, 0.5)
            case "easy_only":
                return torch.ones_like(position)

    def statistics(self, classes: int, progress: Progress) -> dict[str, Tensor]:
        return {"easy_weight": self.easy_share(progress)}

    def __call__(self, source: Tensor, wrong: Tensor, selected: Tensor, progress: Progress) -> Tensor:
        easy, hard = selected * ~wrong, selected * wrong
        b = self.easy_share(progress)
        if self.mean == "batch":
            return (b * easy + (1 - b) * hard) / len(selected)
        return b * subset_mean(easy) + (1 - b) * subset_mean(hard)


def entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits) in nats, (B, C) -> (B,)."""
    log_p = torch.log_softmax(logits, 1)
    return -(log_p.exp() * log_p).sum(1)


def confidence_threshold(fraction: Tensor, classes: int, eta: float | None, b: float) -> Tensor:
    """chi(t) = (H(u) / eta) * 2 * sigmoid(b * (t/Gamma - 1/2)), () [ours: one expression for all four named cases].

    CMD-S has b = 0, CMD-P b > 0, all knowledge eta = 1 and b = 0; eta = None stands for infinity, zero knowledge. With
    b < 0 the threshold falls: whether the authors' rises or falls could not be read.
    """
    if eta is None:
        return torch.zeros_like(fraction)
    return math.log(classes) / eta * 2 * torch.sigmoid(b * (fraction - 0.5))


@WEIGHTINGS.register("confident")
@dataclass(frozen=True)
class Confident(Weighting):
    """CMD (Li et al. 2023): only predictions whose entropy is below chi(t) are taught; the mean is over the batch.

    `inclusive` takes entropies equal to the threshold too, so that eta = 1, b = 0 means all knowledge.
    """

    eta: Positive | None
    b: float
    inclusive: bool

    def threshold(self, classes: int, progress: Progress) -> Tensor:
        return confidence_threshold(progress.fraction, classes, self.eta, self.b)

    def statistics(self, classes: int, progress: Progress) -> dict[str, Tensor]:
        return {"confidence_threshold": self.threshold(classes, progress)}

    def __call__(self, source: Tensor, wrong: Tensor, selected: Tensor, progress: Progress) -> Tensor:
        classes = source.shape[1]
        threshold = self.threshold(classes, progress)
        # Rounding must not lift a uniform prediction above the entropy of the uniform distribution.
        uncertainty = entropy(source).clamp_max(math.log(classes))
        confident = uncertainty <= threshold if self.inclusive else uncertainty < threshold
        return selected * confident / len(selected)
