"""Logit distillers against hand computations, limits and identities."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kd_experiments.distillers.ctkd import CTKD, reversal
from kd_experiments.distillers.dist import column_correlation, row_correlation
from kd_experiments.distillers.dkd import class_mask, divergence, dkd, one_against_rest
from kd_experiments.distillers.kd import kd, standardise
from kd_experiments.distillers.mlld import MLLD
from kd_experiments.distillers.rc import correction
from kd_experiments.distillers.rld import masked_correlation, sample_confidence
from kd_experiments.distillers.tfkd_reg import tfkd_reg, virtual_teacher
from kd_experiments.distillers.warm_up import warm_up
from kd_experiments.networks import Output
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.weighting import SampleWeights
from tests.golden_distillers import batch

LABELS = torch.tensor([0, 3, 1, 2, 2])


def logits(seed: int, batch: int = 5, classes: int = 4) -> Tensor:
    return 3 * torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs(student: Tensor, teacher: Tensor) -> tuple[Output, Output]:
    return Output(student, (), (), student), Output(teacher, (), (), teacher)


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_dkd_takes_kd_apart(t: float) -> None:
    """KL = TCKD + (1 - p^t_y) * NCKD, the paper's equation 7."""
    student, teacher = logits(0), logits(1)
    rest = 1 - torch.softmax(teacher / t, 1).gather(1, LABELS[:, None])[:, 0]
    target, others = (dkd(student, teacher, LABELS, *weights, t) for weights in ((1, 0), (0, 1)))
    torch.testing.assert_close(kd(student, teacher, t), target + rest * others)


def test_dkd_of_extreme_logits_is_finite() -> None:
    student = torch.tensor([[200.0, -200.0, 0.0], [-300.0, 0.0, 300.0]], requires_grad=True)
    loss = dkd(student, -student.detach(), torch.tensor([0, 0]), 1.0, 8.0, 1.0).sum()
    loss.backward()
    assert loss.isfinite() and student.grad is not None and student.grad.isfinite().all()


def test_warm_up_counts_epochs_from_one() -> None:
    values = [warm_up(Progress.at(epoch, 240), 20).item() for epoch in (0, 9, 19, 100)]
    assert values == pytest.approx([0.05, 0.5, 1, 1])
    assert warm_up(Progress.at(0, 240), 0) == 1


def test_standardised_logits_ignore_range_and_scale() -> None:
    z = logits(0)
    torch.testing.assert_close(standardise(z).std(1), torch.ones(5, dtype=z.dtype), rtol=1e-6, atol=0)
    torch.testing.assert_close(standardise(5 * z + 7), standardise(z), rtol=1e-6, atol=1e-7)


def test_dist_ignores_scale_and_shift_of_a_prediction() -> None:
    p, q = torch.softmax(logits(0), 1), torch.softmax(logits(1), 1)
    torch.testing.assert_close(row_correlation(p, 0.3 * p + 0.1), torch.ones(5, dtype=p.dtype), rtol=1e-6, atol=0)
    torch.testing.assert_close(row_correlation(p, q)[0], torch.corrcoef(torch.stack([p[0], q[0]]))[0, 1])
    equal = SampleWeights(torch.full((5,), 0.2, dtype=p.dtype))
    torch.testing.assert_close(column_correlation(p, q, equal)[1], torch.corrcoef(torch.stack([p.T[1], q.T[1]]))[0, 1])


def test_dist_weighs_samples() -> None:
    """Twice the weight is the sample twice."""
    p, q = torch.softmax(logits(0), 1), torch.softmax(logits(1), 1)
    weighted = column_correlation(p, q, SampleWeights(torch.tensor([2.0, 1, 1, 1, 0], dtype=p.dtype)))
    p_repeated, q_repeated = (torch.cat([x[:1], x[:4]]) for x in (p, q))
    expected = column_correlation(p_repeated, q_repeated, SampleWeights(torch.ones(5, dtype=p.dtype)))
    torch.testing.assert_close(weighted, expected, rtol=1e-6, atol=0)


def test_ctkd_climbs_where_the_student_descends() -> None:
    distiller = CTKD(1.0, 20.0, 1.0, 10).double()
    given = outputs(logits(0), logits(1))
    t = torch.tensor(1 + 20 / (1 + math.exp(-1.0)), dtype=torch.float64, requires_grad=True)
    assert distiller.learned_temperature(Progress.at(0, 240)).item() == pytest.approx(t.item())
    expected = kd(given[0].logits, given[1].logits, t).mean()
    (slope,) = torch.autograd.grad(expected, t)
    slope *= 20 * torch.sigmoid(distiller.theta).detach() * torch.sigmoid(-distiller.theta).detach()

    for epoch, scale in [(4, -0.5), (9, -1.0), (100, -1.0)]:
        distiller.zero_grad()
        loss = distiller(batch(*given, LABELS, epoch=epoch))["kd"]
        loss.backward()
        assert loss.item() == pytest.approx(expected.item())
        assert distiller.theta.grad is not None
        assert distiller.theta.grad.item() == pytest.approx(scale * slope.item())


def test_ctkd_reverses_along_a_cosine() -> None:
    values = [reversal(Progress.at(epoch, 240), 10).item() for epoch in range(12)]
    assert values == sorted(values, reverse=True)
    assert values[0] == pytest.approx((math.cos(math.pi / 10) - 1) / 2, abs=1e-6)
    assert values[9:] == pytest.approx([-1, -1, -1])


def test_rld_teaches_a_right_prediction_as_dkd_does() -> None:
    """Where the teacher's arg max is the label, SCD is DKD's target term and MCD its other term."""
    student, teacher = logits(0), logits(1)
    labels = teacher.argmax(1)
    confidence, target = sample_confidence(student, teacher, labels, 2.0), dkd(student, teacher, labels, 1, 0, 2.0)
    torch.testing.assert_close(confidence, target)
    relation, others = masked_correlation(student, teacher, labels, 4.0), dkd(student, teacher, labels, 0, 1, 4.0)
    torch.testing.assert_close(relation, others)


def test_rld_relates_only_classes_below_the_label() -> None:
    teacher = torch.tensor([[5.0, 3.0, 1.0, 0.0], [5.0, 3.0, 1.0, 0.0]])
    student = torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]], requires_grad=True)
    loss = masked_correlation(student, teacher, torch.tensor([1, 3]), 1.0)
    by_hand = divergence(torch.log_softmax(teacher[:1, 2:], 1), torch.log_softmax(student[:1, 2:], 1))
    torch.testing.assert_close(loss[:1], by_hand)
    loss.sum().backward()
    assert loss[1] == 0, "nothing is ranked below this label"
    assert student.grad is not None and not student.grad[1].any() and not student.grad[0, :2].any()


def test_rc_by_hand() -> None:
    student = torch.tensor([[1.0, 2.0, 0.0]], requires_grad=True)
    target = torch.softmax(torch.tensor([[3.0, 2.0, 0.0]]) / 2, 1)
    expected = 4 * (target * (target.log() - torch.log_softmax(student / 2, 1))).sum(1)
    loss = correction(student, torch.tensor([0]), 2.0)
    torch.testing.assert_close(loss, expected)
    loss.sum().backward()
    torch.testing.assert_close(student.grad, 2 * (torch.softmax(student.detach() / 2, 1) - target))


def test_the_virtual_teacher_is_right_and_a_student_can_match_it() -> None:
    teacher = virtual_teacher(logits(0), LABELS, 0.99)
    torch.testing.assert_close(teacher.sum(1), torch.ones(5, dtype=teacher.dtype))
    assert teacher.gather(1, LABELS[:, None]).unique() == 0.99
    assert teacher[0, 1].item() == pytest.approx(0.01 / 3)
    assert tfkd_reg(teacher / 20, LABELS, 0.99, 20.0).abs().max() < 1e-12
    by_hand = torch.softmax(teacher / 20, 1)
    expected = (by_hand * (by_hand.log() - torch.log_softmax(logits(1), 1))).sum(1)
    torch.testing.assert_close(tfkd_reg(logits(1), LABELS, 0.99, 20.0), expected)


def test_one_against_the_rest() -> None:
    z = logits(0)
    two = one_against_rest(z, class_mask(z, LABELS)).exp()
    torch.testing.assert_close(two[:, 0], torch.softmax(z, 1).gather(1, LABELS[:, None])[:, 0])
    torch.testing.assert_close(two.sum(1), torch.ones(5, dtype=z.dtype))


def mlld_terms(student: Tensor, teacher: Tensor, strong: tuple[Tensor, Tensor] | None = None) -> dict[str, Tensor]:
    given = batch(*outputs(student, teacher), LABELS[: len(student)], temperature=2.0)
    if strong is not None:
        second = batch(*outputs(*strong), LABELS[: len(student)], temperature=2.0).second
        given = replace(given, second=second)
    return MLLD((1.0, 0.5), 0.5)(given)


def test_mlld_of_the_same_predictions_costs_nothing() -> None:
    z = logits(0)
    assert all(term.abs() < 1e-12 for term in mlld_terms(z, z + 3).values())
    terms = mlld_terms(z, z, (logits(1), z))
    assert terms["mlld_strong"] > 0.1 and terms["mlld_instance"] == terms["mlld_batch"] == terms["mlld_class"] == 0


def test_mlld_by_hand() -> None:
    """Two samples of two classes: p = (a, 1 - a), so that every correlation is written out."""
    student, teacher = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[2.0, 0.0], [1.0, 0.0]])
    batch = classes = instance = 0.0
    for t in (2.0, 1.0):
        (a, b), (c, d) = ([1 / (1 + math.exp((z[1] - z[0]) / t)) for z in rows.tolist()] for rows in (student, teacher))

        def gram(a: float, b: float) -> list[float]:
            return [a * a + (1 - a) ** 2, a * b + (1 - a) * (1 - b), a * b + (1 - a) * (1 - b), b * b + (1 - b) ** 2]

        def together(a: float, b: float) -> list[float]:
            off = a * (1 - a) + b * (1 - b)
            return [a * a + b * b, off, off, (1 - a) ** 2 + (1 - b) ** 2]

        batch += sum((x - y) ** 2 for x, y in zip(gram(a, b), gram(c, d), strict=True)) / 2
        classes += sum((x - y) ** 2 for x, y in zip(together(a, b), together(c, d), strict=True)) / 2
        for p, q in ((c, a), (d, b)):
            instance += t**2 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))) / 2
    terms = mlld_terms(student, teacher)
    expected = {
        "mlld_instance": instance / 2,
        "mlld_batch": batch / 2,
        "mlld_class": classes / 2,
        "mlld_strong": instance,
    }
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)
