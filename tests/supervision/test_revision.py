"""Revisions: what becomes of wrong rows, and that nothing becomes of right ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from kd_experiments.supervision.revision import (
    REVISIONS,
    LabelAverage,
    LabelAverageLogits,
    LabelRevision,
    NoRevision,
    ProbabilityShift,
    Revision,
    SmoothedLabel,
    TwoClassAverage,
    TwoClassAverageLogits,
    probability_shift,
    wrong_rows,
)

ALL: dict[str, Revision] = {
    "none": NoRevision(),
    "label_revision": LabelRevision(0.8, "one"),
    "label_revision at T": LabelRevision(0.6, "distiller"),
    "probability_shift": ProbabilityShift(),
    "smoothed_label": SmoothedLabel(0.1),
    "two_class_average": TwoClassAverage(),
    "two_class_average_logits": TwoClassAverageLogits(0.1),
    "label_average": LabelAverage(),
    "label_average_logits": LabelAverageLogits(),
}
seeds = st.integers(0, 10_000)
temperatures = st.floats(0.5, 20)


def batch(seed: int, rows: int = 16, classes: int = 7, scale: float = 4.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator, dtype=torch.float64) * scale
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def test_every_registered_revision_is_tested() -> None:
    assert {type(revision) for revision in ALL.values()} == {REVISIONS[name] for name in REVISIONS}


@pytest.mark.parametrize("revision", ALL.values(), ids=ALL)
@given(seed=seeds, t=temperatures)
def test_right_rows_come_back_bit_for_bit(revision: Revision, seed: int, t: float) -> None:
    logits, labels = batch(seed)
    right = ~wrong_rows(logits, labels)
    assert torch.equal(revision(logits, labels, t)[right], logits[right])


FAVOURING = [name for name in ALL if name == "label_average" or ("average" not in name and name != "none")]


@pytest.mark.parametrize("name", FAVOURING)
@given(seed=seeds, t=temperatures)
def test_revised_rows_favour_the_label(name: str, seed: int, t: float) -> None:
    logits, labels = batch(seed)
    wrong = wrong_rows(logits, labels)
    revised = ALL[name](logits, labels, t)
    assert torch.isfinite(revised).all()
    assert not wrong_rows(revised, labels)[wrong].any()


@given(seed=seeds, eta=st.floats(0.05, 0.95))
def test_label_revision_margin_is_one_minus_eta(seed: int, eta: float) -> None:
    logits, labels = batch(seed)
    wrong = wrong_rows(logits, labels)
    p = torch.softmax(LabelRevision(eta, "one")(logits, labels), 1)
    torch.testing.assert_close(p.sum(1), torch.ones(len(p), dtype=p.dtype))
    margin = p.gather(1, labels[:, None]) - p.gather(1, logits.argmax(1)[:, None])
    torch.testing.assert_close(margin[wrong, 0], torch.full((int(wrong.sum()),), 1 - eta, dtype=p.dtype))


@given(seed=seeds, t=temperatures)
def test_label_revision_at_the_distillers_temperature(seed: int, t: float) -> None:
    logits, labels = batch(seed)
    wrong = wrong_rows(logits, labels)
    q = torch.softmax(LabelRevision(0.8, "distiller")(logits, labels, t) / t, 1)
    margin = q.gather(1, labels[:, None]) - q.gather(1, logits.argmax(1)[:, None])
    torch.testing.assert_close(margin[wrong, 0], torch.full((int(wrong.sum()),), 0.2, dtype=q.dtype))


@pytest.mark.parametrize("revision", ALL.values(), ids=ALL)
@given(seed=seeds, t=temperatures)
def test_classes_may_be_renamed(revision: Revision, seed: int, t: float) -> None:
    logits, labels = batch(seed)
    order = torch.randperm(logits.shape[1], generator=torch.Generator().manual_seed(seed))
    renamed = revision(logits[:, order], torch.argsort(order)[labels], t)
    torch.testing.assert_close(renamed, revision(logits, labels, t)[:, order])


@given(seed=seeds, t=temperatures)
def test_shift_of_logits_is_shift_of_probabilities(seed: int, t: float) -> None:
    logits, labels = batch(seed)
    torch.testing.assert_close(
        torch.softmax(probability_shift(logits, labels) / t, 1), probability_shift(torch.softmax(logits / t, 1), labels)
    )


@given(seed=seeds, t=temperatures)
def test_smoothed_label_does_not_depend_on_temperature(seed: int, t: float) -> None:
    logits, labels = batch(seed)
    wrong = wrong_rows(logits, labels)
    per_sample = torch.full((len(labels),), t, dtype=logits.dtype)
    q = torch.softmax(SmoothedLabel(0.1)(logits, labels, per_sample) / t, 1)[wrong]
    expected = torch.full_like(q, 0.1 / logits.shape[1])
    expected[torch.arange(len(q)), labels[wrong]] += 0.9
    torch.testing.assert_close(q, expected)


@given(seed=seeds, t=temperatures)
def test_two_class_average_favours_the_label_of_the_two_and_keeps_the_others(seed: int, t: float) -> None:
    logits, labels = batch(seed)
    before = torch.softmax(logits / t, 1)
    after = torch.softmax(TwoClassAverage()(logits, labels, t) / t, 1)
    assert (after.gather(1, labels[:, None]) >= after.gather(1, logits.argmax(1)[:, None]) * (1 - 1e-12)).all()
    touched = torch.zeros_like(before, dtype=torch.bool).scatter(1, labels[:, None], True)
    touched = touched.scatter(1, logits.argmax(1)[:, None], True)
    torch.testing.assert_close(after[~touched], before[~touched])
    torch.testing.assert_close((after * touched).sum(1), (before * touched).sum(1))


def test_two_class_average_survives_an_underflowing_label() -> None:
    logits = torch.tensor([[400.0, 0.0, -400.0]])
    revised = TwoClassAverage()(logits, torch.tensor([2]), 1.0)
    assert torch.isfinite(revised).all() and revised[0, 2] == revised[0, 0]  # a = 0, b = 1: halves


def test_average_of_logits_is_guarded_at_its_singularity() -> None:
    logits = torch.tensor([[0.5, -1.5, -3.0], [0.5, -1.4999, -3.0], [4.0, 1.0, 0.0]], dtype=torch.float64)
    labels = torch.tensor([1, 1, 1])
    revised = TwoClassAverageLogits(0.1)(logits, labels)
    assert torch.equal(revised[:2], probability_shift(logits, labels)[:2])  # z_y + z_w = -1
    scale = 5 / (2 / 2 + 4 / 2)
    torch.testing.assert_close(revised[2], torch.tensor([2 * scale, 1 * scale, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("revision", ALL.values(), ids=ALL)
def test_float32_agrees_with_float64(revision: Revision) -> None:
    logits, labels = batch(3, rows=64)
    if isinstance(revision, TwoClassAverageLogits):
        logits = logits.abs()  # away from the singularity
    torch.testing.assert_close(revision(logits.float(), labels, 4.0), revision(logits, labels, 4.0).float())


@given(seed=seeds, t=temperatures)
def test_label_average_makes_the_label_more_likely_than_not(seed: int, t: float) -> None:
    logits, labels = batch(seed)
    wrong = wrong_rows(logits, labels)
    before, after = torch.softmax(logits / t, 1), torch.softmax(LabelAverage()(logits, labels, t) / t, 1)
    torch.testing.assert_close(after.sum(1), torch.ones(len(after), dtype=after.dtype))
    assert (after.gather(1, labels[:, None])[wrong] > 0.5).all()
    others = ~torch.nn.functional.one_hot(labels, 7).bool() & wrong[:, None]
    torch.testing.assert_close(after[others], before[others] / 2)


def test_label_average_of_logits_doubles_the_temperature_and_lifts_the_label() -> None:
    revised = LabelAverageLogits()(torch.tensor([[4.0, 1.0, -2.0]]), torch.tensor([1]))
    assert revised.tolist() == [[2.0, 1.0, -1.0]]  # (1 + 1) / 2: not on top
