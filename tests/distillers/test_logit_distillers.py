"""Logit distillers against hand computations, limits and identities."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_experiments.distillers.at import at
from kd_experiments.distillers.base import DistillationBatch, Distiller, LogitDistiller
from kd_experiments.distillers.ctkd import CTKD, reversal
from kd_experiments.distillers.dist import column_correlation, row_correlation
from kd_experiments.distillers.dkd import DKD, class_mask, dkd, one_against_rest
from kd_experiments.distillers.dtkd import DTKD
from kd_experiments.distillers.kd import KD, divergence, kd
from kd_experiments.distillers.ldrld import LDRLD, local_relations, remaining_classes
from kd_experiments.distillers.logit_mse import logit_mse, probability_mse
from kd_experiments.distillers.mlld import MLLD
from kd_experiments.distillers.none import NoDistiller
from kd_experiments.distillers.ofd import ofd
from kd_experiments.distillers.rc import correction
from kd_experiments.distillers.rld import RLD, masked_correlation, sample_confidence
from kd_experiments.distillers.sdd import SDD
from kd_experiments.distillers.sld import SLD, pseudo_teacher, started
from kd_experiments.distillers.tfkd_reg import tfkd_reg, virtual_teacher
from kd_experiments.distillers.ttm import TTM, power_sum, ttm
from kd_experiments.distillers.warm_up import warm_up
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.supervision.label_loss import JointSoft, ProSelfLC, cross_entropy
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import NoRevision, ProbabilityShift, Revision, SmoothedLabel
from kd_experiments.supervision.temperature import LargestLogit, LogitDeviation, Temperatures, standardise
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


# Newer methods


def lesson(t: float | Temperatures = 4.0, **changes: Any) -> DistillationBatch:
    return batch(*outputs(logits(0), logits(1)), LABELS, temperature=t, **changes)


def test_ttm_and_wttm_at_power_one_are_kl_at_temperature_one() -> None:
    expected = kd(logits(0), logits(1), 1.0)
    for weighted in (False, True):
        torch.testing.assert_close(TTM(weighted).per_sample(lesson(1.0)), expected)


@pytest.mark.parametrize("t", [2.0, 5.0])
def test_ttm_s_gradient_is_the_difference_of_predictions(t: float) -> None:
    student, teacher = logits(0).requires_grad_(), logits(1)
    u, q = power_sum(teacher, t), torch.softmax(teacher / t, 1)
    assert (u >= 1).all() and (u <= 4 ** (1 - 1 / t)).all()
    for weighted, scale in ((False, torch.ones_like(u)), (True, u)):
        losses = TTM(weighted).per_sample(batch(*outputs(student, teacher), LABELS, temperature=t))
        (gradient,) = torch.autograd.grad(losses.sum(), student)
        torch.testing.assert_close(gradient, scale[:, None] * (torch.softmax(student, 1) - q).detach())


def test_dtkd_of_equal_largest_logits_is_kd() -> None:
    student, teacher = logits(0), logits(1)
    teacher = teacher - teacher.amax(1, keepdim=True) + student.amax(1, keepdim=True)
    t = LargestLogit(4.0, 1e-3, False)(student, teacher)
    torch.testing.assert_close(kd(student, teacher, t), kd(student, teacher, 4.0))
    both = DTKD(3.0, 1.0, 4.0).per_sample(batch(*outputs(student, teacher), LABELS, temperature=t))
    torch.testing.assert_close(both, 4 * kd(student, teacher, 4.0))


def test_normkd_is_logit_standardisation_times_the_teacher_s_variance() -> None:
    student, teacher = logits(0), logits(1)
    t = LogitDeviation(2.0)(student, teacher)
    expected = teacher.var(1) * kd(standardise(student), standardise(teacher), 2.0)
    torch.testing.assert_close(kd(student, teacher, t), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("t", [4.0, Temperatures(2.0, 3.0, 6.0)])
def test_each_network_has_its_own_temperature(t: float | Temperatures) -> None:
    pair = Temperatures.of(t)
    given, scaled = lesson(t), outputs(logits(0) / pair.student, logits(1) / pair.teacher)
    once = batch(*scaled, LABELS, temperature=1.0)
    for distiller in (KD(), DKD(1.0, 8.0), LDRLD(10.5, 7.0, 2, 0.05)):
        torch.testing.assert_close(distiller.per_sample(given), pair.scale * distiller.per_sample(once))


class OfMaps(Network):
    """The end of a network."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, 4).double()


def regional(scales: tuple[int, ...], host: LogitDistiller, size: int = 4) -> tuple[SDD, DistillationBatch]:
    torch.manual_seed(0)
    said, heads = [], (OfMaps(6), OfMaps(8))
    for head in heads:
        maps = torch.randn(5, head.fc.in_features, size, size, dtype=torch.float64)
        said.append(Output(head.fc(maps.mean((2, 3))), (), (), maps.mean((2, 3)), maps))
    distiller = SDD(scales, 2.0, host)
    distiller.inspect_networks(*heads)
    distiller.build_modules(*said)
    return distiller, batch(*said, LABELS)


@pytest.mark.parametrize("host", [KD(), DKD(1.0, 8.0), RLD(1.0, 8.0, 1.0), TTM(True)])
@pytest.mark.parametrize("revision", [NoRevision(), ProbabilityShift(), SmoothedLabel(0.1)])
def test_one_region_is_the_host(host: LogitDistiller, revision: Revision) -> None:
    distiller, given = regional((1,), host)
    given = replace(given, targets=replace(given.targets, revision=revision))
    torch.testing.assert_close(distiller.per_sample(given), host.per_sample(given))


def test_regions_that_disagree_in_being_right_count_twice() -> None:
    distiller, given = regional((1, 2), KD())
    assert given.student.last_map is not None and given.targets.output is not None
    expected = torch.zeros(5, dtype=torch.float64)
    maps = given.student.last_map, given.targets.output.last_map
    places = [(slice(0, 4), slice(0, 4)), *[(slice(i, i + 2), slice(j, j + 2)) for i in (0, 2) for j in (0, 2)]]
    counted = set()
    for rows, columns in places:
        heads = (distiller.student_head[0], distiller.source_head[0])
        ours, theirs = (head(part[:, :, rows, columns].mean((2, 3))) for head, part in zip(heads, maps, strict=True))
        weight = 1.0 + ((theirs.argmax(1) == LABELS) != ~given.targets.wrong)
        counted |= set(weight.tolist())
        expected = expected + weight * kd(ours, theirs, 4.0) / 5
    assert counted == {1.0, 2.0}
    torch.testing.assert_close(distiller.per_sample(given), expected)


@pytest.mark.parametrize("host", [MLLD((1.0,), 0.5), SDD((1,), 2.0, KD()), NoDistiller()])
def test_what_regions_cannot_do_is_said(host: Distiller) -> None:
    with pytest.raises(UserError, match=r"method\.host\.name"):
        SDD((1, 2), 2.0, host)


def test_ldrld_beyond_its_classes() -> None:
    student, teacher = logits(0), logits(1)
    assert remaining_classes(student, teacher, 3, 4.0).abs().max() == 0, "a single class is left"
    for classes in (2, 4):
        with pytest.raises(UserError, match=r"method\.k=4"):
            LDRLD(1.0, 1.0, 4, 0.05).inspect_labels(LABELS, classes)


def test_a_student_that_is_right_has_no_pseudo_teacher() -> None:
    student, labels = logits(0).requires_grad_(), LABELS.clone()
    labels[0] = student[0].argmax()
    for detached in (False, True):
        losses = pseudo_teacher(student, labels, 4.0, detached)
        assert losses[0] == 0 and losses[1:].max() > 0
    assert [started(Progress.at(epoch, 100), 0.625).item() for epoch in (0, 61, 62, 99)] == [0, 0, 1, 1]


@pytest.mark.parametrize("make", [lambda: MLLD((), 0.5), lambda: SLD((), 0.6, False), lambda: SDD((), 2.0, KD())])
def test_an_empty_list_is_named(make: Callable[[], Distiller]) -> None:
    with pytest.raises(UserError, match=r"method\.\w+=\[\]"):
        make()


HALF = [torch.float16, torch.bfloat16]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize(
    "loss",
    [
        lambda s, t: kd(s, t, 4.0),
        lambda s, t: kd(s, t, 0.5),
        lambda s, t: dkd(s, t, LABELS, 1.0, 8.0, 4.0),
        lambda s, t: masked_correlation(s, t, LABELS, 4.0),
        lambda s, t: sample_confidence(s, t, LABELS, 1.0),
        lambda s, t: correction(s, LABELS, 4.0),
        lambda s, t: tfkd_reg(s, LABELS, 0.99, 20.0),
        lambda s, t: ttm(s, t, 4.0) * power_sum(t, 4.0),
        lambda s, t: pseudo_teacher(s, LABELS, 4.0, False),
        lambda s, t: local_relations(s, t, 2, 0.05, 4.0),
        lambda s, t: remaining_classes(s, t, 2, 4.0),
        lambda s, t: logit_mse(s, t),
        lambda s, t: probability_mse(s, t),
        lambda s, t: row_correlation(torch.softmax(s.float(), 1), torch.softmax(t.float(), 1)),
        lambda s, t: cross_entropy(s, LABELS),
        lambda s, t: ProSelfLC(10.0)(s, LABELS, Progress.at(0, 1, 0.7)),
        lambda s, t: JointSoft(0.5, 0.5)(s, LABELS, Progress.at(0, 1)),
        lambda s, t: at(s[:, :, None, None], t[:, :, None, None], 2.0),
        lambda s, t: ofd(s[:, :, None, None], t[:, :, None, None], -torch.ones(4)),
    ],
)
def test_half_precision_is_computed_in_full(loss: Callable[[Tensor, Tensor], Tensor], dtype: torch.dtype) -> None:
    """Logits over the range in which a square or an exponential of float16 is finite."""
    student, teacher = (100 * logits(seed).float().to(dtype) for seed in (0, 1))
    student.requires_grad_()
    value = loss(student, teacher)
    (gradient,) = torch.autograd.grad(value.sum(), student)
    assert value.dtype == torch.float32 and value.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(value, loss(student.float(), teacher.float()))
