"""Label noise: exact counts, never the original class, seeded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.data.label_noise import CONFUSIONS, Asymmetric, LabelSource, NoNoise, PairFlip, Symmetric
from kd_experiments.errors import UserError

rates = st.floats(0, 0.99)


def source(dataset: str = "digits", classes: int = 10, coarse: tuple[int, ...] | None = None) -> LabelSource:
    return LabelSource(dataset, torch.arange(997) % classes, classes, coarse)


@given(rates, st.integers(0, 100), st.integers(2, 100))
def test_symmetric_flips_exactly_int_rate_n_to_other_classes(rate: float, seed: int, classes: int) -> None:
    clean = source(classes=classes)
    noisy = Symmetric(rate, seed)(clean)
    assert int((noisy != clean.labels).sum()) == int(rate * 997)
    assert noisy.min() >= 0 and noisy.max() < classes


def test_symmetric_noise_is_uniform_over_the_other_classes() -> None:
    clean = LabelSource("digits", torch.full((90_000,), 3), 10)
    counts = torch.bincount(Symmetric(0.9999, 0)(clean), minlength=10).double()
    assert counts[3] == 9 and (counts[counts > 9] - 10_000).abs().max() < 500


@given(rates, st.integers(0, 100))
def test_pair_flip_takes_the_next_class(rate: float, seed: int) -> None:
    clean = source()
    noisy = PairFlip(rate, seed)(clean)
    flipped = noisy != clean.labels
    assert int(flipped.sum()) == int(rate * 997)
    assert torch.equal(noisy[flipped], (clean.labels[flipped] + 1) % 10)


@pytest.mark.parametrize("dataset", list(CONFUSIONS))
@given(rate=rates)
def test_asymmetric_flips_confused_classes_only(dataset: str, rate: float) -> None:
    clean = source(dataset)
    noisy = Asymmetric(rate, 1)(clean)
    for label in range(10):
        members = clean.labels == label
        given_labels = noisy[members]
        if label not in CONFUSIONS[dataset]:
            assert (given_labels == label).all()
        else:
            flipped = given_labels != label
            assert int(flipped.sum()) == int(rate * int(members.sum()))
            assert (given_labels[flipped] == CONFUSIONS[dataset][label]).all()


def test_asymmetric_swaps_two_fine_classes_of_each_coarse_class() -> None:
    coarse = tuple(fine % 20 for fine in range(100))
    clean = LabelSource("cifar100", torch.arange(10_000) % 100, 100, coarse)
    swaps = Asymmetric(0.3, 0).confusions(clean)
    assert len(swaps) == 40
    for fine, other in swaps.items():
        assert swaps[other] == fine != other and coarse[fine] == coarse[other]
    assert Asymmetric(0.3, 1).confusions(clean) != swaps
    noisy = Asymmetric(0.3, 0)(clean)
    assert int((noisy != clean.labels).sum()) == 40 * 30


def test_seeds_choose_other_samples_and_no_noise_changes_nothing() -> None:
    clean = source()
    assert NoNoise()(clean) is clean.labels
    assert torch.equal(Symmetric(0.4, 0)(clean), Symmetric(0.4, 0)(clean))
    assert not torch.equal(Symmetric(0.4, 0)(clean), Symmetric(0.4, 1)(clean))


def test_unknown_confusions_are_a_clear_error() -> None:
    with pytest.raises(UserError, match="no confused classes are known for dataset=photos"):
        Asymmetric(0.4, 0)(source("photos"))
