"""Selection: how many, which, and what stands at the ends."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.supervision.influence import SplitOutputs
from kd_experiments.supervision.selection import (
    SELECTIONS,
    Confidence,
    Entropy,
    Influence,
    Loss,
    NoSelection,
    Random,
    Selection,
    SelectionInputs,
    Snapshot,
    TeacherCorrect,
    TracIn,
    scoring_key,
)


def facts(n: int = 50) -> SelectionInputs:
    generator = torch.Generator().manual_seed(0)

    def part(size: int) -> SplitOutputs:
        logits = torch.randn(size, 5, generator=generator) * 3
        return SplitOutputs(
            logits, torch.randn(size, 4, generator=generator), torch.randint(0, 5, (size,), generator=generator)
        )

    shots = [Snapshot(part(n), part(20), lr) for lr in (0.1, 0.01)]
    return SelectionInputs(part(n), part(20), lambda: shots)


def all_with(ratio: float) -> dict[str, Selection]:
    return {
        "influence": Influence(ratio, "kfac", 0.01, False),
        "identity": Influence(ratio, "identity", 0.01, False),
        "reversed": Influence(ratio, "kfac", 0.01, True),
        "tracin": TracIn(ratio),
        "random": Random(ratio, 0),
        "confidence": Confidence(ratio),
        "entropy": Entropy(ratio),
        "loss": Loss(ratio),
        "teacher_correct": TeacherCorrect(ratio, 0),
    }


def test_every_registered_selection_is_tested() -> None:
    tested = {type(part) for part in all_with(0.5).values()} | {NoSelection}
    assert tested == {SELECTIONS[name] for name in SELECTIONS}


@pytest.mark.parametrize("name", list(all_with(0.5)))
@given(ratio=st.floats(0, 1))
def test_exactly_the_ratio_is_selected(name: str, ratio: float) -> None:
    part = all_with(ratio)[name]
    mask = part.mask(part.scores(facts()))
    assert mask.dtype == torch.bool and mask.shape == (50,)
    assert int(mask.sum()) == int(ratio * 50 + 0.5)


@pytest.mark.parametrize("name", list(all_with(0.5)))
def test_a_larger_ratio_holds_the_smaller(name: str) -> None:
    masks = [all_with(ratio)[name].mask(all_with(ratio)[name].scores(facts())) for ratio in (0.2, 0.6, 1.0)]
    assert (masks[0] <= masks[1]).all() and (masks[1] <= masks[2]).all() and masks[2].all()


def test_strategies_take_what_they_say() -> None:
    teacher = facts()
    p = torch.softmax(teacher.train.logits, 1)
    losses = torch.nn.functional.cross_entropy(teacher.train.logits, teacher.train.labels, reduction="none")
    correct = teacher.train.logits.argmax(1) == teacher.train.labels
    taken = {name: part.mask(part.scores(teacher)) for name, part in all_with(0.2).items()}
    assert p.amax(1)[taken["confidence"]].min() >= p.amax(1)[~taken["confidence"]].max()
    assert losses[taken["loss"]].max() <= losses[~taken["loss"]].min()
    assert correct[taken["teacher_correct"]].sum() == min(10, int(correct.sum()))
    assert not (taken["influence"] & taken["reversed"]).any()


def test_ties_are_broken_by_seed_not_by_order() -> None:
    flat = torch.zeros(1000, dtype=torch.float64)
    first, second = Random(0.5, 1).mask(flat), Random(0.5, 2).mask(flat)
    assert not torch.equal(first, second)
    assert 200 < int(first[:500].sum()) < 300


def test_scores_are_shared_between_ratios_and_seeds() -> None:
    assert scoring_key(TeacherCorrect(0.5, 1)) == scoring_key(TeacherCorrect(0.9, 2))
    assert scoring_key(Influence(0.5, "kfac", 0.01, False)) != scoring_key(Influence(0.5, "kfac", 0.02, False))
