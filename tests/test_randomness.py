"""The counter-based generator."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.randomness import derive, integers, ranking


def test_derive_depends_on_every_part() -> None:
    keys = {derive(0, "a"), derive(1, "a"), derive(0, "b"), derive(0, "a", 0), derive(0, "a", 1)}
    assert len(keys) == 5 and all(0 <= key < 2**63 for key in keys)


def test_known_numbers_never_change() -> None:
    """Results of years to come are compared with these: a change here changes every run."""
    assert derive(0, "views", 3) == 6918862609723109907
    assert integers(derive(0, "views", 3), torch.arange(8), 162).tolist() == [50, 118, 111, 34, 62, 105, 15, 142]
    assert ranking(1, 6).tolist() == [3, 2, 0, 1, 5, 4]


@given(st.integers(0, 2**63 - 1), st.integers(1, 5000))
def test_integers_stay_in_range(key: int, below: int) -> None:
    drawn = integers(key, torch.arange(100), below)
    assert drawn.min() >= 0 and drawn.max() < below


def test_integers_depend_on_key_and_counter_alone() -> None:
    counters = torch.randperm(1000)
    all_at_once = integers(7, torch.arange(1000), 162)
    assert torch.equal(integers(7, counters, 162), all_at_once[counters])
    assert not torch.equal(integers(8, torch.arange(1000), 162), all_at_once)


def test_integers_are_uniform() -> None:
    drawn = integers(derive(3, "views", 0), torch.arange(162_000), 162)
    counts = torch.bincount(drawn, minlength=162).double()
    chi_square = ((counts - 1000) ** 2 / 1000).sum()
    assert chi_square < 230  # 161 degrees of freedom: exceeded once in 3000 keys
    lagged = torch.corrcoef(torch.stack([drawn[:-1].double(), drawn[1:].double()]))[0, 1]
    assert lagged.abs() < 0.01


def test_ranking_is_a_permutation_of_its_key() -> None:
    order = ranking(5, 300)
    assert torch.equal(order.sort().values, torch.arange(300))
    assert torch.equal(order, ranking(5, 300)) and not torch.equal(order, ranking(6, 300))
