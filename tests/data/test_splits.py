"""Splits are disjoint, stratified, exact and stable."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.data.digits import read_digits
from kd_experiments.data.splits import split_train, stratified
from kd_experiments.errors import UserError

LABELS = torch.arange(1000) % 7


@given(st.integers(0, 1000), st.integers(0, 100))
def test_exactly_as_many_as_asked_in_proportion(size: int, seed: int) -> None:
    chosen = stratified(LABELS, size, seed, "test")
    assert len(chosen) == size == len(chosen.unique())
    counts = torch.bincount(LABELS[chosen], minlength=7)
    exact = torch.bincount(LABELS) * size / 1000
    assert ((counts - exact).abs() < 1).all()


@given(st.floats(0.02, 0.5), st.integers(0, 100))
def test_train_and_val_are_disjoint(fraction: float, seed: int) -> None:
    train, val = split_train(LABELS, val_fraction=fraction, train_size=None, seed=seed)
    assert not set(train.tolist()) & set(val.tolist())
    assert len(train) + len(val) == 1000


def test_without_a_fraction_every_class_is_validated() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    train, val = split_train(labels, val_fraction=None, train_size=None, seed=0)
    assert len(val) == 2 and set(labels[val].tolist()) == set(labels[train].tolist()) == {0, 1}
    assert len(split_train(LABELS, val_fraction=None, train_size=None, seed=0)[1]) == 100


def test_a_smaller_training_set_keeps_the_validation_set() -> None:
    _, val = split_train(LABELS, val_fraction=0.1, train_size=None, seed=3)
    train, same = split_train(LABELS, val_fraction=0.1, train_size=100, seed=3)
    assert torch.equal(val, same) and len(train) == 100


def test_splits_never_change() -> None:
    train, val = split_train(LABELS, val_fraction=0.02, train_size=10, seed=0)
    assert train.tolist() == [293, 311, 404, 407, 413, 457, 548, 637, 757, 914]
    assert val.tolist() == [
        31,
        188,
        220,
        309,
        325,
        380,
        390,
        406,
        463,
        481,
        494,
        530,
        536,
        602,
        713,
        760,
        848,
        875,
        940,
        989,
    ]


def test_digits_have_a_fixed_test_split() -> None:
    source = read_digits()
    assert source.train_images.shape == (1347, 1, 8, 8) and source.test_images.shape == (450, 1, 8, 8)
    assert source.train_images.dtype == torch.uint8 and source.train_images.max() == 255
    assert torch.bincount(source.test_labels).tolist() == [45, 46, 44, 46, 45, 46, 45, 45, 43, 45]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"val_fraction": 0.002}, "validation split leaves a class empty"),
        ({"train_size": 5}, "training split leaves a class empty"),
        ({"train_size": 950}, "only 900 training images are left"),
    ],
)
def test_impossible_splits(changes: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        split_train(LABELS, **({"val_fraction": 0.1, "train_size": None, "seed": 0} | changes))  # type: ignore[arg-type]
