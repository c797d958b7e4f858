"""Weights, their normalisers and their schedules."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.weighting import (
    WEIGHTINGS,
    Confident,
    ConstantWeighting,
    RightThenWrong,
    RightWrong,
    Weighting,
    confidence_threshold,
)

ALL: dict[str, Weighting] = {
    "constant": ConstantWeighting(),
    "right_wrong": RightWrong(4.0, 1.0),
    "subset": RightThenWrong("cos2", "subset"),
    "batch": RightThenWrong("cos2", "batch"),
    "static": Confident(2.0, 0.0, False),
    "progressive": Confident(2.0, 4.0, False),
}


def logits(rows: int = 8, classes: int = 10) -> torch.Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(0)) * 3


def test_every_registered_weighting_is_tested() -> None:
    assert {type(part) for part in ALL.values()} == {WEIGHTINGS[name] for name in WEIGHTINGS}


@pytest.mark.parametrize("part", ALL.values(), ids=ALL)
@pytest.mark.parametrize("wrong", ["none", "all", "some"])
@pytest.mark.parametrize("chosen", ["none", "all", "some"])
def test_weights_are_finite_and_zero_outside_the_selection(part: Weighting, wrong: str, chosen: str) -> None:
    masks = {"none": torch.zeros(8), "all": torch.ones(8), "some": (torch.arange(8) % 3 == 0).float()}
    selected = masks[chosen]
    weights = part(logits(), masks[wrong].bool(), selected, Progress.at(3, 10))
    assert weights.shape == (8,) and torch.isfinite(weights).all() and (weights >= 0).all()
    assert (weights[selected == 0] == 0).all()


def test_an_empty_subset_weighs_exactly_nothing() -> None:
    nobody_wrong = RightWrong(4.0, 1.0)(logits(), torch.zeros(8, dtype=torch.bool), torch.ones(8), Progress.at(0, 1))
    torch.testing.assert_close(nobody_wrong, torch.full((8,), 0.5))
    everybody_wrong = RightThenWrong("easy_only", "subset")(
        logits(), torch.ones(8, dtype=torch.bool), torch.ones(8), Progress.at(0, 1)
    )
    assert everybody_wrong.sum() == 0


@given(st.integers(0, 299))
def test_easy_and_hard_shares_sum_to_one(epoch: int) -> None:
    wrong = torch.arange(8) < 3
    progress = Progress.at(epoch, 300)
    for schedule in ("cos2", "linear", "constant", "reversed", "ramp"):
        weights = RightThenWrong(schedule, "subset")(logits(), wrong, torch.ones(8), progress)  # type: ignore[arg-type]
        torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
        b = RightThenWrong(schedule, "subset").easy_share(progress)  # type: ignore[arg-type]
        torch.testing.assert_close(weights[~wrong].sum(), b)


def test_schedules_at_known_epochs() -> None:
    shares = {
        schedule: [float(RightThenWrong(schedule, "subset").easy_share(Progress.at(e, 40))) for e in (0, 10, 20, 30)]  # type: ignore[arg-type]
        for schedule in ("cos2", "linear", "constant", "reversed", "ramp", "easy_only")
    }
    quarter = math.cos(math.pi / 8) ** 2
    assert shares["cos2"] == pytest.approx([1, quarter, 0.5, 1 - quarter])
    assert shares["reversed"] == pytest.approx([0, 1 - quarter, 0.5, quarter], abs=1e-7)
    assert shares["linear"] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert shares["constant"] == [0.5] * 4
    assert shares["ramp"] == pytest.approx([0, 0.5, 1, 1])
    assert shares["easy_only"] == [1.0] * 4


def test_confidence_threshold_at_known_times() -> None:
    times = torch.tensor([0, 0.25, 0.5, 0.75, 1])
    chi = confidence_threshold(times, classes=100, eta=2.0, b=4.0)
    torch.testing.assert_close(chi, torch.tensor([0.549, 1.239, 2.303, 3.367, 4.056]), atol=5e-4, rtol=0)
    assert torch.equal(confidence_threshold(times, 100, None, 0.0), torch.zeros(5))
    torch.testing.assert_close(confidence_threshold(times, 100, 1.0, 0.0), torch.full((5,), math.log(100)))


def test_all_knowledge_holds_uniform_predictions_and_zero_knowledge_nothing() -> None:
    says = torch.cat([logits(), torch.zeros(1, 10), torch.full((1, 10), 1e-4)])
    nobody, everybody = torch.zeros(10, dtype=torch.bool), torch.ones(10)
    progress = Progress.at(0, 10)
    assert torch.equal(Confident(1.0, 0.0, True)(says, nobody, everybody, progress), everybody / 10)
    assert Confident(None, 0.0, False)(says, nobody, everybody, progress).sum() == 0


def test_confident_only_takes_low_entropies() -> None:
    says = torch.stack([torch.tensor([9.0, 0, 0]), torch.tensor([0.1, 0, 0])])
    weights = Confident(2.0, 0.0, False)(says, torch.zeros(2, dtype=torch.bool), torch.ones(2), Progress.at(0, 1))
    assert weights.tolist() == [0.5, 0.0]


def test_a_threshold_may_fall() -> None:
    times = torch.tensor([0, 0.25, 0.5, 0.75, 1])
    rising, falling = (confidence_threshold(times, 100, 2.0, b) for b in (4.0, -4.0))
    torch.testing.assert_close(falling, rising.flip(0))
