"""Means, deviations and paired differences against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kd_experiments.reporting.statistics import (
    Difference,
    average_ranks,
    detectable,
    holm,
    paired_difference,
    seen_differences,
    spreads,
)


def test_spread_is_the_sample_standard_deviation() -> None:
    found = spreads([{"a": 1.0}, {"a": 2.0}, {"a": 4.0}])["a"]
    assert (found.mean, found.n) == (pytest.approx(7 / 3), 3)
    assert found.std == pytest.approx(math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2))
    assert math.isnan(spreads([{"a": 1.0}])["a"].std) and spreads([{"a": math.nan}, {"a": 2.0}])["a"].n == 1


def test_paired_difference_is_students_interval() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 1, 6), rng.normal(0, 1, 6)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(stats.ttest_rel(ours, theirs).pvalue)
    assert found.std == pytest.approx(np.std(ours - theirs, ddof=1))


def test_only_common_seeds_are_paired() -> None:
    found = paired_difference({0: 1.0, 1: 2.0, 7: 99.0}, {0: 0.0, 1: 1.5, 3: 5.0})
    assert found is not None and found.n == 2 and found.mean == pytest.approx(0.75)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    one = paired_difference({0: 1.0}, {0: 0.5})
    assert one is not None and math.isnan(one.low) and not one.excludes_zero


def test_spreads_are_those_of_each_figure_over_the_rows_that_have_it() -> None:
    found = spreads([{"a": 1.0, "b": 5.0}, {"a": 2.0}, {"a": 4.0, "b": 7.0}])
    assert (found["a"].n, found["b"].n) == (3, 2)
    assert (found["b"].mean, found["b"].std) == (6.0, pytest.approx(math.sqrt(2)))


def test_differences_without_scatter_have_no_t_test() -> None:
    found = paired_difference({0: 2.1, 1: 3.1, 2: 4.1}, {0: 0.1, 1: 1.1, 2: 2.1})
    assert found is not None and found.p == 0 and found.low == found.high == pytest.approx(2)
    same = paired_difference({0: 1.0, 1: 2.0}, {0: 1.0, 1: 2.0})
    assert same is not None and same.p == 1 and not same.excludes_zero


def _with_p(p: float) -> Difference:
    return Difference(1.0, 0.1, 1.9, 3, 0.5, p)


def test_holm_by_hand() -> None:
    """Sorted .01, .02, .03 are held against .05/3, .05/2, .05/1: all stay. With .04 for .02 only the first does."""
    assert holm([_with_p(0.03), _with_p(0.01), _with_p(0.02)]) == [True, True, True]
    assert holm([_with_p(0.03), _with_p(0.01), _with_p(0.04)]) == [False, True, False]
    untested = Difference(1.0, math.nan, math.nan, 1)
    assert holm([None, _with_p(0.04), untested]) == [False, True, False]  # a family of one
    assert holm([]) == []


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_detectable_difference_has_the_power_it_claims(n: int) -> None:
    """The noncentral t distribution gives the chance to find it, within and outside both critical values."""
    least = detectable(0.7, n)
    critical, shift = stats.t.ppf(0.975, n - 1), math.sqrt(n) * least / 0.7
    assert stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift) == pytest.approx(0.8, abs=1e-6)


def test_seen_differences_pool_what_has_the_same_n() -> None:
    found = [Difference(0.0, -1, 1, 3, 3.0, 0.5), None, Difference(0.0, -1, 1, 3, 4.0, 0.5)]
    alone = [Difference(0.0, -1, 1, 5, 1.0, 0.5), Difference(0.0, math.nan, math.nan, 1)]
    seen = seen_differences([*found, *alone])
    assert list(seen) == [3, 5]
    assert seen[3] == pytest.approx(detectable(math.sqrt(12.5), 3)) and seen[5] == pytest.approx(detectable(1.0, 5))


def test_average_ranks_by_hand() -> None:
    assert average_ranks([[3.0, 2.0, 1.0], [1.0, 2.0, 2.0]]) == [2.0, 1.75, 2.25]
