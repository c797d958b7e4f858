"""The composed loss, at its special cases."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kd_experiments.config import check
from kd_experiments.distillers.base import DistillationBatch, Distiller
from kd_experiments.distillers.kd import KD, kd
from kd_experiments.distillers.logit_mse import LogitMSE
from kd_experiments.distillers.tfkd_reg import TfKDReg
from kd_experiments.networks import Output
from kd_experiments.students.making import make_objective
from kd_experiments.supervision.label_loss import CrossEntropy, cross_entropy
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import LabelRevision, NoRevision
from kd_experiments.supervision.temperature import ConstantTemperature, LargestLogit, Temperatures
from kd_experiments.supervision.weighting import Confident, ConstantWeighting, RightThenWrong, RightWrong
from kd_experiments.training.objective import Batch, LossTerms, Objective
from tests.conftest import composed

STUDENT, TEACHER = torch.randn(2, 16, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
LABELS = torch.randint(0, 5, (16,), generator=torch.Generator().manual_seed(1))


def judge(
    selected: torch.Tensor | None = None, second: tuple[Output, Output] | None = None, **changes: Any
) -> LossTerms:
    parts: dict[str, Any] = {
        "label_loss": CrossEntropy(),
        "distiller": KD(),
        "revision": NoRevision(),
        "weighting": ConstantWeighting(),
        "temperature": ConstantTemperature(4.0),
        "label_weight": 0.1,
        "label_rows": "all",
        "weight": 0.9,
    }
    selected = torch.ones(16, dtype=torch.float64) if selected is None else selected
    batch = Batch(torch.arange(16), STUDENT, LABELS, LABELS, selected)
    student, source = Output(STUDENT, (), (), STUDENT), Output(TEACHER, (), (), TEACHER)
    progress = Progress.at(0, 1, like=STUDENT)
    return Objective(**(parts | changes))(batch, student, source, progress, second=second)


def test_nobody_selected_is_plain_cross_entropy() -> None:
    expected = cross_entropy(STUDENT, LABELS).mean()
    nobody = torch.zeros(16, dtype=torch.float64)
    torch.testing.assert_close(judge(nobody).loss, expected)
    torch.testing.assert_close(
        judge(nobody, distiller=LogitMSE(), weighting=RightWrong(4.0, 1.0), label_weight=1.0).loss, expected
    )
    torch.testing.assert_close(judge(nobody, label_rows="right").loss, expected)


def test_a_sample_is_taught_or_labelled() -> None:
    """With a mask, the loss is the mean of each sample's own loss."""
    mask = (torch.arange(16) % 2).double()
    one, none = judge(), judge(torch.zeros(16, dtype=torch.float64))
    assert one.loss != none.loss
    taught = 0.1 * cross_entropy(STUDENT, LABELS) + 0.9 * kd(STUDENT, TEACHER, 4.0)
    expected = torch.where(mask.bool(), taught, cross_entropy(STUDENT, LABELS)).mean()
    torch.testing.assert_close(judge(mask).loss, expected)


def test_all_knowledge_is_no_threshold() -> None:
    assert torch.equal(judge(weighting=Confident(1.0, 0.0, True)).loss, judge().loss)


def test_logit_mse_without_revision_matches_every_logit() -> None:
    loss = judge(distiller=LogitMSE(), weight=4.0, label_weight=1.0).terms["mse"]
    torch.testing.assert_close(loss, 4 * torch.nn.functional.mse_loss(STUDENT, TEACHER))


def test_an_added_kd_term_is_kd() -> None:
    plain = judge(distiller=LogitMSE(), weight=0.0)
    added = judge(distiller=LogitMSE(), weight=0.0, kd_weight=0.9)
    torch.testing.assert_close(added.loss - plain.loss, judge(label_weight=0.0).loss)


def test_statistics_count_what_happened() -> None:
    statistics = judge(revision=LabelRevision(0.8, "one")).statistics
    wrong = (TEACHER.argmax(1) != LABELS).float().mean()
    assert statistics["source_wrong_share"] == wrong and statistics["revised_share"] == wrong
    assert statistics["taught_share"] == 1 and statistics["taught_true_share"] == 1 - wrong
    assert judge().statistics["revised_share"] == 0


def test_no_gradient_reaches_the_source() -> None:
    teacher = TEACHER.clone().requires_grad_()
    student = STUDENT.clone().requires_grad_()
    objective = Objective(
        label_loss=CrossEntropy(), distiller=KD(), revision=LabelRevision(0.8, "one"), weighting=ConstantWeighting(),
        temperature=ConstantTemperature(4.0), label_weight=0.1, label_rows="all", weight=0.9,
    )  # fmt: skip
    batch = Batch(torch.arange(16), student, LABELS, LABELS, torch.ones(16, dtype=torch.float64))
    objective(
        batch, Output(student, (), (), student), Output(teacher, (), (), teacher), Progress.at(0, 1)
    ).loss.backward()
    assert student.grad is not None and teacher.grad is None


def test_a_warm_up_is_of_the_distillation_alone() -> None:
    at_once, first = judge(), judge(warm_up_epochs=4)
    assert first.terms["label"] == at_once.terms["label"]
    torch.testing.assert_close(4 * first.terms["kd"], at_once.terms["kd"])


def test_standardised_logits_are_compared_and_the_label_is_not_touched() -> None:
    plain, scaled = judge(), judge(standardise=True)
    assert scaled.terms["label"] == plain.terms["label"]
    z_scores = [(z - z.mean(1, keepdim=True)) / (z.std(1, keepdim=True) + 1e-7) for z in (STUDENT, TEACHER)]
    torch.testing.assert_close(scaled.terms["kd"], 0.9 * kd(*z_scores, 4.0).mean())
    assert scaled.statistics["source_wrong_share"] == plain.statistics["source_wrong_share"]


def test_a_taught_sample_has_its_label_on_both_views() -> None:
    strong = Output(STUDENT.flip(0), (), (), STUDENT), Output(TEACHER.flip(0), (), (), TEACHER)
    mask = (torch.arange(16) % 2).double()
    weak, both = (cross_entropy(z, LABELS) for z in (STUDENT, STUDENT.flip(0)))
    expected = torch.where(mask.bool(), 0.1 * weak + 0.1 * both, weak).mean()
    torch.testing.assert_close(judge(mask, second=strong).terms["label"], expected)


def test_a_weighting_is_of_the_kd_term_where_one_joins_a_feature_method() -> None:
    """BTKD's plug-in form: the feature term keeps every selected sample, the KD term is replaced by the bracket."""

    class EveryRow(Distiller):
        needs = "features"

        def forward(self, batch: DistillationBatch) -> dict[str, torch.Tensor]:
            return {"rows": batch.weights.total}

    wrong = TEACHER.argmax(1) != LABELS
    easy = RightThenWrong("easy_only", "subset")
    judged = judge(distiller=EveryRow(), weighting=easy, weight=1.0, kd_weight=0.9)
    assert judged.terms["rows"] == 1
    torch.testing.assert_close(judged.terms["added_kd"], 0.9 * kd(STUDENT, TEACHER, 4.0)[~wrong].mean())
    alone = judge(distiller=EveryRow(), weighting=RightWrong(2.0, 0.0), weight=1.0)
    torch.testing.assert_close(alone.terms["rows"], torch.tensor(2.0, dtype=torch.float64))


def weights_of(name: str, wrong: torch.Tensor) -> torch.Tensor:
    """Weight of each row in the distillation of a method of LRDS's family, everyone selected; (16, 5) logits."""
    config = check(composed(f"method={name}"))
    logits = torch.nn.functional.one_hot(torch.where(wrong, (LABELS + 1) % 5, LABELS), 5).double()
    return config.method.weight * config.weighting(logits, wrong, torch.ones(16).double(), Progress.at(0, 1))


def test_an_ablation_of_lrds_changes_one_thing() -> None:
    right, some = torch.zeros(16, dtype=torch.bool), torch.arange(16) % 5 == 0
    names = ("logit_mse", "ds", "lr", "lrds")
    for wrong in (right, some):
        first, *others = (weights_of(name, wrong) for name in names)
        assert all(torch.equal(first, other) for other in others)
    family = {}
    for name in names:
        config = check(composed(f"method={name}"))
        objective = make_objective(config)
        source = Output(torch.nn.functional.one_hot(LABELS, 5) * 3.0 + TEACHER / 10, (), (), TEACHER)
        assert not (source.logits.argmax(1) != LABELS).any()
        batch = Batch(torch.arange(16), STUDENT, LABELS, LABELS, torch.ones(16).double())
        progress = Progress.at(0, 1, like=STUDENT)
        family[name] = objective(batch, Output(STUDENT, (), (), STUDENT), source, progress).loss
    assert len({loss.item() for loss in family.values()}) == 1


@pytest.mark.parametrize(("classes", "expected"), [(5, 0.2), (10, 0.4), (100, 4.0), (200, 4.0)])
def test_lambda1_keeps_the_weight_of_a_single_logit(classes: int, expected: float) -> None:
    nobody, everyone = torch.zeros(4, dtype=torch.bool), torch.ones(4)
    weights = RightWrong(None, 1.0)(torch.zeros(4, classes), nobody, everyone, Progress.at(0, 1))
    torch.testing.assert_close(weights, torch.full((4,), expected / 4))
    assert (RightWrong(4.0, 1.0)(torch.zeros(4, classes), nobody, everyone, Progress.at(0, 1)) == 1).all()


@pytest.mark.parametrize(("dataset", "expected"), [("digits", 0.4), ("cifar100", 4.0), ("image_folder", None)])
def test_lambda1_of_published_data_stands_in_the_configuration(dataset: str, expected: float | None) -> None:
    assert composed("method=lrds", f"dataset={dataset}")["weighting"]["lambda1"] == expected


def test_a_warm_up_needs_no_source() -> None:
    parts: dict[str, Any] = {
        "label_loss": CrossEntropy(), "distiller": TfKDReg(0.99), "revision": NoRevision(),
        "weighting": ConstantWeighting(), "temperature": ConstantTemperature(20.0), "label_weight": 0.9,
        "label_rows": "all", "weight": 0.1,
    }  # fmt: skip
    batch = Batch(torch.arange(16), STUDENT, LABELS, LABELS, torch.ones(16, dtype=torch.float64))
    student, progress = Output(STUDENT, (), (), STUDENT), Progress.at(4, 40, like=STUDENT)
    at_once, warm = (
        Objective(**parts, warm_up_epochs=epochs)(batch, student, None, progress).terms for epochs in (0, 20)
    )
    torch.testing.assert_close(4 * warm["kd"], at_once["kd"])
    assert warm["label"] == at_once["label"]


def test_a_pair_of_temperatures_is_of_the_logits_before_revision_and_has_its_gradient() -> None:
    student = STUDENT.clone().requires_grad_()
    objective = Objective(
        label_loss=CrossEntropy(), distiller=KD(), revision=LabelRevision(0.8, "one"), weighting=ConstantWeighting(),
        temperature=LargestLogit(4.0, 0.01, False), label_weight=0.0, label_rows="all", weight=1.0,
    )  # fmt: skip
    batch = Batch(torch.arange(16), student, LABELS, LABELS, torch.ones(16, dtype=torch.float64))
    said = Output(student, (), (), student), Output(TEACHER, (), (), TEACHER)
    judged = objective(batch, *said, Progress.at(0, 1, like=STUDENT))
    u, v = (z.amax(1).clamp_min(0.01) for z in (TEACHER, student))
    t = Temperatures(8 * u / (u + v), 8 * v / (u + v), 64 * u * v / (u + v).square())
    expected = kd(student, LabelRevision(0.8, "one")(TEACHER, LABELS), t).mean()
    torch.testing.assert_close(judged.loss, expected)
    gradients = (torch.autograd.grad(loss, student, retain_graph=True)[0] for loss in (judged.loss, expected))
    torch.testing.assert_close(*gradients)
    torch.testing.assert_close(judged.statistics["temperature_mean"], (8 * u / (u + v)).detach().mean())
    torch.testing.assert_close(judged.statistics["student_temperature_mean"], (8 * v / (u + v)).detach().mean())
