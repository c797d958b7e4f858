"""What may be said of a few seeds: spread, paired differences, Holm's correction, power and average ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special  # scipy.stats takes as long to import as a thousand records to read

LEVEL = 0.05  # of every test; intervals hold 1 - LEVEL
NOTHING = 1e-9  # percentage points that are only rounding
FEWEST_STARRED = 3  # pairs


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of `n` values; the deviation of one value is nan."""

    mean: float
    sd: float
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Sums are exact, so that the order of the values says nothing."""
    n = len(values)
    mean = math.fsum(values) / n if n else math.nan
    return Spread(mean, math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (n - 1)) if n > 1 else math.nan, n)


@dataclass(frozen=True)
class Difference:
    """Mean of `n` differences with Student's 95 % interval; `low`, `high` and `p` are nan where there is no test.

    There is none for a single pair, nor where all differences are equal: no scatter says nothing of other seeds.
    """

    mean: float
    low: float
    high: float
    n: int
    sd: float = math.nan
    p: float = math.nan  # of the two-sided paired t test, not corrected
    values: tuple[float, ...] = ()  # of the pairs

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    @property
    def detectable(self) -> float:
        """The smallest true difference that this comparison, with its own n and deviation, finds in 4 of 5 repeats."""
        return math.nan if math.isnan(self.p) else _power_factor(self.n) * self.sd


def interval(differences: Sequence[float]) -> Difference:
    """Of at least one paired difference."""
    found, values = spread(differences), tuple(differences)
    if found.n < 2 or found.sd < NOTHING:
        return Difference(found.mean, math.nan, math.nan, found.n, found.sd, values=values)
    error = found.sd / math.sqrt(found.n)
    half = float(special.stdtrit(found.n - 1, 1 - LEVEL / 2)) * error
    p = 2 * float(special.stdtr(found.n - 1, -abs(found.mean) / error))
    return Difference(found.mean, found.mean - half, found.mean + half, found.n, found.sd, p, values)


def holm(differences: Sequence[Difference | None]) -> list[bool]:
    """Which differences of one family stay after Holm's correction at 5 %.

    The family is every comparison that has a test; a star also needs three pairs.
    """
    tested = [(one.p, place) for place, one in enumerate(differences) if one is not None and not math.isnan(one.p)]
    starred = set()
    for number, (p, place) in enumerate(sorted(tested)):
        if p > LEVEL / (len(tested) - number):
            break  # neither this one nor any with a larger p
        starred.add(place)
    return [place in starred and one is not None and one.n >= FEWEST_STARRED for place, one in enumerate(differences)]


@cache
def _power_factor(n: int, power: float = 0.8) -> float:
    """d/s such that the paired t test of n pairs with deviation s finds a true d with probability `power`.

    It solves P(T > t(1 - .05/2; n-1)) = power, T noncentral t with n-1 degrees of freedom, noncentrality sqrt(n) d/s;
    that T is below the other end has a probability under 1e-6.
    """
    return float(special.nctdtrinc(n - 1, 1 - power, special.stdtrit(n - 1, 1 - LEVEL / 2))) / math.sqrt(n)


def average_ranks(blocks: Sequence[Sequence[float]]) -> list[float]:
    """Mean rank of each competitor over blocks of equal length; 1 is the highest value, ties share their mean rank."""
    own = np.asarray(blocks, dtype=float)[:, :, None]
    higher, alike = ((own.swapaxes(1, 2) > own).sum(axis=2), (own.swapaxes(1, 2) == own).sum(axis=2))
    return [float(rank) for rank in (higher + (alike + 1) / 2).mean(axis=0)]
