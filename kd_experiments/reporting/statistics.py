"""What may be said of a few seeds: mean and standard deviation, and differences paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of `n` values; the deviation of one value is nan."""

    mean: float
    std: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    array = np.asarray(values, dtype=float)
    array = array[~np.isnan(array)]
    if len(array) == 0:
        return Spread(math.nan, math.nan, 0)
    return Spread(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else math.nan, len(array))


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its confidence interval; `low` and `high` are nan for a single pair."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_difference(
    ours: Mapping[int, float], reference: Mapping[int, float], confidence: float = 0.95
) -> Difference | None:
    """Ours minus the reference over the seeds both have, with Student's t interval; None without a common seed."""
    seeds = sorted(ours.keys() & reference.keys())
    if not seeds:
        return None
    differences = np.array([ours[seed] - reference[seed] for seed in seeds])
    mean, n = float(differences.mean()), len(differences)
    if n == 1:
        return Difference(mean, math.nan, math.nan, 1)
    error = float(stats.sem(differences))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    return Difference(mean, mean - half, mean + half, n)
