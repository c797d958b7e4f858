"""Metrics against values worked out by hand or by scikit-learn."""

from __future__ import annotations

import math

import pytest
import torch
from sklearn.metrics import log_loss, top_k_accuracy_score

from kd_experiments.training.evaluation import calibration_error, metrics, noise_metrics
from kd_experiments.training.figures_of_merit import exploded_epoch

LOGITS = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)) * 2
LABELS = torch.randint(0, 10, (200,), generator=torch.Generator().manual_seed(1))


def test_metrics_agree_with_scikit_learn() -> None:
    found = metrics(LOGITS, LABELS)
    p = torch.softmax(LOGITS.double(), 1).numpy()
    assert found["top1"] == pytest.approx(100 * top_k_accuracy_score(LABELS, p, k=1), abs=1e-4)
    assert found["top5"] == pytest.approx(100 * top_k_accuracy_score(LABELS, p, k=5), abs=1e-4)
    assert found["nll"] == pytest.approx(log_loss(LABELS, p, labels=list(range(10))), rel=1e-5)


def test_calibration_error_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    labels = torch.tensor([0, 1, 0, 1])
    # confidences .9 .9 | .6 .6; accuracies 1/2 | 1
    assert float(calibration_error(p, labels)) == pytest.approx(0.5 * 0.4 + 0.5 * 0.4)


def test_perfectly_calibrated_certainty_has_no_error() -> None:
    assert float(calibration_error(torch.eye(5), torch.arange(5))) == 0


def test_a_network_that_has_diverged_can_be_measured() -> None:
    """Its figures say so; whoever measured it refuses them."""
    assert math.isnan(metrics(torch.full((3, 4), math.nan), torch.arange(3))["nll"])


def test_agreement_and_inherited_errors() -> None:
    teacher = torch.eye(4)[[0, 1, 2, 3]]
    student = torch.eye(4)[[0, 1, 1, 3]]
    labels = torch.tensor([0, 0, 0, 0])  # the teacher is wrong on three, the student repeats two of them
    found = metrics(student, labels, teacher)
    assert found["agreement"] == 75 and found["inherited_errors"] == pytest.approx(200 / 3, rel=1e-6)
    assert metrics(student, labels, torch.eye(4)[[0, 0, 0, 0]])["inherited_errors"] == 0


def test_noise_metrics() -> None:
    true = torch.tensor([0, 1, 2, 3])
    given = torch.tensor([0, 1, 3, 0])  # the last two are wrong
    predicted = torch.eye(4)[[0, 2, 3, 3]]
    assert noise_metrics(predicted, given, true) == {"clean_fit": 50.0, "wrong_fit": 50.0, "correction": 50.0}


def test_fewer_than_five_classes() -> None:
    assert metrics(torch.eye(3), torch.arange(3))["top5"] == 100


def rows(*losses: float, label: float = 0.5, prefix: str = "") -> list[dict[str, float]]:
    return [{"epoch": float(n), f"{prefix}loss": loss, f"{prefix}loss_label": label} for n, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        (rows(2.3, 1.0, 0.5), None),
        (rows(0.001, 0.09, 5.0), None),  # of a small loss a hundred times is little
        (rows(2.3, 0.5, 99.0, 150.0), 4),
        (rows(900.0, 40.0, 3.0), None),  # a term may begin anywhere
        (rows(900.0, 40.0, 9000.0), 3),
        (rows(1e7, label=1e7), 1),
        (rows(2.3, 1e6, prefix="peer_"), 2),
        ([{"epoch": -1.0, "loss": 1e9}, *rows(2.3, 1.0)], None),
    ],
)
def test_a_loss_that_explodes_is_noticed(history: list[dict[str, float]], expected: int | None) -> None:
    assert exploded_epoch(history) == expected
