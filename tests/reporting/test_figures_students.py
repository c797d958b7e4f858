"""Figures that ask students about the test images: reliability, likeness of classes, inherited errors, and cost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from kd_experiments.reporting import figures, records
from kd_experiments.reporting.figures import cost, inherited, reliability, similarity, students, write_figures
from kd_experiments.reporting.figures.reliability import Reliability
from kd_experiments.reporting.figures.runs import Cannot, Setting, read_runs, settings
from kd_experiments.training.evaluation import metrics
from tests.conftest import Cli

ASKING = (reliability.KIND, similarity.KIND, inherited.KIND)


def setting_of(results: Path) -> Setting:
    (setting,) = settings(read_runs(records.read_runs(results).runs, results)[0])
    return setting


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_reliability_by_hand() -> None:
    confidence = torch.tensor([0.95] * 8 + [0.55] * 6 + [0.75] * 2, dtype=torch.float64)
    logits = torch.stack([torch.log(confidence), torch.log(1 - confidence)], 1)
    labels = torch.tensor([0] * 6 + [1] * 2 + [0] * 3 + [1] * 3 + [0, 0])
    found: Reliability = reliability.reliability(logits, labels, bins=10)
    assert found.share == pytest.approx([0, 0, 0, 0, 0, 6 / 16, 0, 2 / 16, 0, 8 / 16])
    assert found.right[[5, 9]] == pytest.approx([0.5, 0.75])
    assert np.isnan(np.delete(found.right, [5, 9])).all()  # also the bin of two predictions, which says nothing
    assert found.error == pytest.approx((8 * 0.2 + 6 * 0.05 + 2 * 0.25) / 16)


def test_class_correlations_of_known_logits() -> None:
    base = torch.randn(50, generator=torch.Generator().manual_seed(0))
    found = similarity.class_correlation(torch.stack([base, 2 * base + 1, -base], 1))
    assert found.numpy() == pytest.approx(np.array([[1.0, 1, -1], [1, 1, -1], [-1, -1, 1]]))
    differences = torch.tensor([[[0.0, 0.3], [0.1, 0.0]]])
    assert similarity.off_diagonal(differences).tolist() == pytest.approx([0.2])


def test_inherited_errors_are_the_teachers_mistakes_that_the_student_makes_too() -> None:
    labels = torch.tensor([0, 0, 1, 2, 2])
    teacher = torch.eye(3)[torch.tensor([1, 1, 1, 0, 2])]  # wrong on 0, 1 and 3
    student = torch.eye(3)[torch.tensor([1, 2, 0, 0, 1])]  # repeats 0 and 3
    assert inherited.confusions(teacher, teacher, labels).tolist() == [[0, 2, 0], [0, 0, 0], [1, 0, 0]]
    found = inherited.confusions(student, teacher, labels)
    assert found.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 0]]
    share = metrics(student, labels, teacher)["inherited_errors"]
    assert float(found.sum()) / 3 * 100 == pytest.approx(share)


def test_of_many_classes_those_with_most_mistakes_are_shown() -> None:
    mistakes = torch.zeros(30, 30)
    mistakes[20, 25] = 5
    mistakes[torch.arange(11), torch.arange(1, 12)] = 1
    shown = inherited.shown_classes(mistakes)
    assert len(shown) == inherited.MOST_CLASSES and {20, 25} <= set(shown) and shown == sorted(shown)


def test_students_are_asked_and_what_is_missing_is_said(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("--multirun", "method=none,kd", "seed=0,1").code == 0
    setting = setting_of(tmp_path)
    recorded = {
        (run.method, run.seed): {name: run.record["metrics"].get(f"test_{name}_last") for name in ("ece", "top1")}
        for run in setting.runs
    }

    exam = students.examine(setting)
    assert [pupils.label for pupils in exam.pupils] == ["none (n = 2)", "kd (n = 2)"]
    for pupils in exam.pupils:
        for seed, logits in pupils.logits.items():
            found = metrics(logits, exam.labels)
            assert found["top1"] == pytest.approx(recorded[pupils.name, seed]["top1"], abs=1e-4)

    errors = [recorded["kd", seed]["ece"] for seed in (0, 1)]
    expected = f"kd (n = 2)\nECE {np.mean(errors):.2f} ± {np.std(errors, ddof=1):.2f} %"
    assert expected in titles(reliability.draw(setting))
    repeats = [run.record["metrics"]["test_inherited_errors_last"] for run in setting.runs if run.method == "kd"]
    drawn = titles(inherited.draw(setting))
    assert f"kd (n = 2)\nrepeats {np.mean(repeats):.1f} ± {np.std(repeats, ddof=1):.1f} %" in drawn
    assert any(title.startswith("teacher resnet8\n") for title in drawn)
    points = cost.draw(setting).axes[0].containers
    times = [
        np.mean([run.record["timing"]["train_seconds"] for run in setting.runs if run.method == name])
        for name in ("none", "kd")
    ]
    assert [float(point.lines[0].get_xdata()[0]) for point in points] == pytest.approx(times)  # type: ignore[attr-defined]

    monkeypatch.setattr(figures, "KINDS", ASKING)
    _, outcomes, complaints = write_figures(tmp_path)
    files = {outcome.name: outcome.files for outcome in outcomes}
    assert (
        not complaints and set(files) == {"methods", "reliability", "similarity", "inherited"} and all(files.values())
    )
    texts = {"reliability": "confidence [%]", "similarity": "mean difference", "inherited": "the teacher predicts"}
    for name, text in texts.items():
        svg = next(path.read_text() for path in files[name] if path.suffix == ".svg")
        assert text in svg and "450 test images" in svg and "kd (n = 2)" in svg

    (folder, *others) = (run.folder for run in setting.runs if run.method == "kd")
    (folder / "student.pt").unlink()
    assert [pupils.label for pupils in students.examine(setting).pupils] == ["none (n = 2)", "kd (n = 1)"]
    path = others[0] / "record.json"
    record = json.loads(path.read_text())
    record["metrics"]["test_top1_last"] += 5
    path.write_text(json.dumps(record))
    with pytest.raises(Cannot, match=r"is right on .* its record says"):
        students.examine(setting_of(tmp_path))
    for student in tmp_path.glob("runs/*/student.pt"):
        student.unlink()
    _, outcomes, _ = write_figures(tmp_path)
    missing = {outcome.name: outcome.missing for outcome in outcomes if not outcome.files}
    assert set(missing) == {"reliability", "similarity", "inherited"}
    assert all(reason.startswith("no student was kept") for reason in missing.values())


def test_of_many_methods_the_baseline_kd_and_the_best_on_val_are_asked() -> None:
    class Named:
        def __init__(self, name: str, accuracy: float) -> None:
            self.name, self.record = name, {"metrics": {"val_top1_last": accuracy}}

    names = {"none": 1.0, "kd": 2.0, "a": 50.0, "b": 60.0, "c": 70.0, "d": 10.0, "e": 5.0}
    there = [(Named(name, value), [Named(name, value)]) for name, value in names.items()]
    chosen = students._chosen(there)  # type: ignore[arg-type]
    assert [variant.name for variant, _ in chosen] == ["none", "kd", "a", "b", "c"]
