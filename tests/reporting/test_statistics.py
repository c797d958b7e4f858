"""Means, deviations and paired differences against scipy and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from kd_experiments.reporting.statistics import paired_difference, spread


def test_spread_is_the_sample_standard_deviation() -> None:
    found = spread([1.0, 2.0, 4.0])
    assert (found.mean, found.n) == (pytest.approx(7 / 3), 3)
    assert found.std == pytest.approx(math.sqrt(((4 / 3) ** 2 + (1 / 3) ** 2 + (5 / 3) ** 2) / 2))
    assert math.isnan(spread([1.0]).std) and spread([]).n == 0 and spread([math.nan, 2.0]).n == 1


def test_paired_difference_is_students_interval() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(1, 1, 6), rng.normal(0, 1, 6)
    found = paired_difference(dict(enumerate(ours)), dict(enumerate(theirs)))
    interval = stats.ttest_rel(ours, theirs).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_only_common_seeds_are_paired() -> None:
    found = paired_difference({0: 1.0, 1: 2.0, 7: 99.0}, {0: 0.0, 1: 1.5, 3: 5.0})
    assert found is not None and found.n == 2 and found.mean == pytest.approx(0.75)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None
    one = paired_difference({0: 1.0}, {0: 0.5})
    assert one is not None and math.isnan(one.low) and not one.excludes_zero
