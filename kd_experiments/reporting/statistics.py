"""What may be said of a few seeds: spread, differences paired by seed, Holm's correction, power and average ranks."""

from __future__ import annotations

import gc
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

LEVEL = 0.05  # of every test; intervals hold 1 - LEVEL
NOTHING = 1e-9  # percentage points that are only rounding


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of `n` values; the deviation of one value is nan."""

    mean: float
    std: float
    n: int


def spreads(rows: Sequence[Mapping[str, float]]) -> dict[str, Spread]:
    """The spread of every figure over the rows that have it."""
    names = sorted({name for row in rows for name in row})
    values = np.array([[row.get(name, math.nan) for name in names] for row in rows], dtype=float)
    counts = np.count_nonzero(~np.isnan(values), axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy's word on the deviation of one value
        means, deviations = np.nanmean(values, axis=0), np.nanstd(values, axis=0, ddof=1)
    parts = zip(names, means.tolist(), deviations.tolist(), counts.tolist(), strict=True)
    return {name: Spread(mean, deviation, n) for name, mean, deviation, n in parts}


@dataclass(frozen=True)
class Difference:
    """Mean of paired differences with its 95 % interval; `low`, `high`, `std` and `p` are nan for a single pair."""

    mean: float
    low: float
    high: float
    n: int
    std: float = math.nan  # sample standard deviation of the paired differences
    p: float = math.nan  # of the two-sided paired t test, not corrected

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def paired_difference(ours: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """Ours minus the reference over the seeds both have, with Student's 95 % interval; None without a common seed."""
    seeds = sorted(ours.keys() & reference.keys())
    if not seeds:
        return None
    differences = np.array([ours[seed] - reference[seed] for seed in seeds])
    mean, n = float(differences.mean()), len(differences)
    if n == 1:
        return Difference(mean, math.nan, math.nan, 1)
    std = float(differences.std(ddof=1))
    if std < NOTHING:  # no scatter at all, which Student's t has no word for
        return Difference(mean, mean, mean, n, 0.0, float(abs(mean) < NOTHING))
    error = std / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 1 - LEVEL / 2)) * error
    p = 2 * float(special.stdtr(n - 1, -abs(mean) / error))
    return Difference(mean, mean - half, mean + half, n, std, p)


def holm(differences: Sequence[Difference | None]) -> list[bool]:
    """Which differences of one family stay after Holm's correction at 5 %; those without a test never do."""
    known = [math.nan if found is None else found.p for found in differences]
    tested = [place for place, p in enumerate(known) if not math.isnan(p)]
    kept = [False] * len(differences)
    if tested:
        gc.freeze()  # this function of statsmodels collects garbage: it need not look through ten thousand records
        try:
            rejected = multipletests([known[place] for place in tested], LEVEL, method="holm")[0]
        finally:
            gc.unfreeze()
        for place, significant in zip(tested, rejected, strict=True):
            kept[place] = bool(significant)
    return kept


def detectable(std: float, n: int, power: float = 0.8) -> float:
    """The smallest true difference that the paired t test of `n` pairs finds with probability `power`.

    With s the standard deviation of the paired differences it is the d > 0 that solves
    P(|T| > t(1 - .05/2; n-1)) = power, T noncentral t with n-1 degrees of freedom and noncentrality sqrt(n) d / s.
    It holds for one test; Holm's correction asks for more.
    """
    return float(TTestPower().solve_power(nobs=n, alpha=LEVEL, power=power, alternative="two-sided")) * std


def seen_differences(differences: Sequence[Difference | None]) -> dict[int, float]:
    """n -> `detectable` at the pooled deviation (root mean square) of those differences that have n pairs."""
    pooled: dict[int, float] = {}
    for n in sorted({found.n for found in differences if found is not None and found.n > 1}):
        deviations = [found.std for found in differences if found is not None and found.n == n]
        pooled[n] = detectable(float(np.sqrt(np.mean(np.square(deviations)))), n)
    return pooled


def average_ranks(blocks: Sequence[Sequence[float]]) -> list[float]:
    """Mean rank of each competitor over blocks of equal length; 1 is the highest value, ties share their mean rank."""
    ranks = stats.rankdata(-np.asarray(blocks, dtype=float), axis=1)
    return [float(rank) for rank in ranks.mean(axis=0)]
