"""The figures: made from a few tiny runs on digits, and honest about what is missing."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from kd_experiments.cli import composing
from kd_experiments.config import Config, check
from kd_experiments.distillers.kd import KD
from kd_experiments.errors import UserError
from kd_experiments.networks import Output
from kd_experiments.places import home
from kd_experiments.reporting import figures, records
from kd_experiments.reporting.figures import KINDS, Outcome, btkd, write_figures
from kd_experiments.reporting.figures import teacher as teacher_files
from kd_experiments.reporting.figures.__main__ import main
from kd_experiments.reporting.figures.influence import histogram
from kd_experiments.reporting.figures.revision import median_confidence, shown_classes
from kd_experiments.reporting.figures.runs import Run, over_seeds, read_runs, settings, variants
from kd_experiments.reporting.figures.temperature import temperatures
from kd_experiments.reporting.figures.threshold import precision_of
from kd_experiments.run import run
from kd_experiments.supervision.label_loss import CrossEntropy
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import NoRevision, ProbabilityShift, Revision, SmoothedLabel
from kd_experiments.supervision.temperature import FLSW
from kd_experiments.supervision.weighting import ConstantWeighting
from kd_experiments.teachers import obtain
from kd_experiments.training.objective import Batch, Objective

NAMES = {kind.name for kind in KINDS}
NEED_A_TEACHER = {"revision", "influence", "temperature"}  # its network, not only what it said
RUNS = (
    "method=la_dtd snapshots=2",
    "method=lrds",
    "method=btkd",
    "method=cmd_p label_noise=symmetric",
    "method=cmd_p label_noise=symmetric seed=1",
    "method=none label_noise=symmetric",
)


def composed(results: Path, overrides: str) -> Config:
    """A configuration as the command line composes it, tiny."""
    tiny = ["recipe.epochs=2", "teacher.recipe.epochs=2", "tracking.mode=disabled", "device=cpu"]
    return check(composing.composed([*tiny, f"paths.results={results}", *overrides.split()]))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder with every kind of run that a figure needs; not to be changed."""
    results = tmp_path_factory.mktemp("figures") / "results"
    before = os.environ.get("KD_EXPERIMENTS_HOME")
    os.environ["KD_EXPERIMENTS_HOME"] = str(home())
    for overrides in RUNS:
        run(composed(results, overrides))
    if before is None:
        del os.environ["KD_EXPERIMENTS_HOME"]
    return results


@pytest.fixture
def moved(made: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of it that may be changed; its records say that it was made here."""
    results = tmp_path / "moved"
    shutil.copytree(made, results)
    for path in results.glob("runs/*/record.json"):
        path.write_text(path.read_text().replace(str(made), str(results)))
    teacher_files._data.cache_clear()
    yield results
    teacher_files._data.cache_clear()


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the figures that look at teachers, and one that does not: the others would only take time."""
    monkeypatch.setattr(figures, "KINDS", [kind for kind in KINDS if kind.name in NEED_A_TEACHER | {"btkd"}])


def by_name(outcomes: list[Outcome]) -> dict[str, Outcome]:
    """The first outcome of each kind."""
    return {outcome.name: outcome for outcome in reversed(outcomes)}


def written(outcomes: list[Outcome]) -> set[str]:
    """The kinds of which something was written; figures that compare accuracies are no kind."""
    return {outcome.name for outcome in outcomes if outcome.files} & NAMES


def runs_below(results: Path) -> list[Run]:
    runs, complaints = read_runs(records.read_runs(results).runs, results)
    assert not complaints
    return runs


def record_of(results: Path, method: str) -> Path:
    """The record of the first run of a method."""
    paths = sorted(results.glob("runs/*/record.json"))
    return next(path for path in paths if json.loads(path.read_text())["config"]["method"]["name"] == method)


def test_without_runs_every_figure_names_its_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([f"paths.results={tmp_path}"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("0 complete runs")
    for name in NAMES:
        assert f"\n{name} " in said
    assert said.count("python -m kd_experiments ") == said.count(f"paths.results={tmp_path}\n") == len(NAMES)
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize("argument", ["results", "path.results=x"])
def test_other_arguments_are_one_line_and_exit_code_2(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([argument]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_all_figures_and_the_same_bytes_again(made: Path) -> None:
    count, outcomes, complaints = write_figures(made)
    assert (count, complaints) == (len(RUNS), [])
    assert written(outcomes) == NAMES == set(by_name(outcomes)) - {"methods"}
    files = [path for outcome in outcomes for path in outcome.files]
    assert sorted(path.name for path in files) == sorted(path.name for path in (made / "figures").iterdir())
    first = {path: path.read_bytes() for path in files}
    assert all(content[:4] in (b"\x89PNG", b"<?xm") for content in first.values())
    assert not any(b"<dc:date>" in content for content in first.values())
    write_figures(made)
    assert all(path.read_bytes() == content for path, content in first.items())


def test_file_names_say_data_teacher_and_student(made: Path) -> None:
    slugs = [setting.slug.rsplit("-", 1)[0] for setting in settings(runs_below(made))]
    assert slugs == ["digits-resnet20-resnet8", "digits-symmetric0.4-resnet8"]


@pytest.mark.usefixtures("few")
def test_a_missing_teacher_is_reported_and_never_trained(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain, "_train", lambda *_: pytest.fail("a figure trained a teacher"))
    shutil.rmtree(moved / "teachers")
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == {"btkd"}
    for name in NEED_A_TEACHER:
        outcome = by_name(outcomes)[name]
        assert "the teacher is not there" in outcome.missing and "teacher.pt" in outcome.missing
        assert "rerun=true" in outcome.command
    assert not (moved / "teachers").exists()


@pytest.mark.usefixtures("few")
def test_a_teacher_without_its_network_is_missing_too(moved: Path) -> None:
    (network,) = moved.glob("teachers/*/teacher.pt")
    network.unlink()
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == {"btkd"}
    assert by_name(outcomes)["revision"].command.startswith(f"rm {network.parent}/record.json && python")


@pytest.mark.usefixtures("few")
def test_data_that_are_not_here_leave_the_other_figures(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise UserError("dataset=digits: not found")

    monkeypatch.setattr(teacher_files, "load", nothing)
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == {"btkd"}
    assert by_name(outcomes)["revision"].missing == "dataset=digits: not found"
    assert "dataset.download=true" in by_name(outcomes)["revision"].command


@pytest.mark.usefixtures("few")
def test_without_snapshots_temperatures_are_missing(moved: Path) -> None:
    for path in moved.glob("runs/*/snapshot-*.pt"):
        path.unlink()
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == {"revision", "influence", "btkd"}
    assert "rerun=true snapshots=2" in by_name(outcomes)["temperature"].command


@pytest.mark.usefixtures("few")
def test_a_teacher_that_never_errs_has_nothing_to_revise(moved: Path) -> None:
    for path in moved.glob("runs/*/record.json"):
        record = json.loads(path.read_text())
        if record["teacher"] is not None:
            record["teacher"]["train_wrong"] = 0
            path.write_text(json.dumps(record))
    _, outcomes, _ = write_figures(moved)
    assert "right on every training image" in by_name(outcomes)["revision"].missing


@pytest.mark.usefixtures("few")
def test_a_record_that_cannot_be_read_is_told_and_left_out(moved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record_of(moved, "btkd")
    record = json.loads(path.read_text())
    record["config"]["dataset"]["colour"] = "blue"
    path.write_text(json.dumps(record))
    assert main([f"paths.results={moved}"]) == 0
    said = capsys.readouterr().out
    assert f"left out {path}: dataset.colour: no such key" in said
    assert "btkd         missing: no complete run" in said


@pytest.mark.usefixtures("few")
def test_older_records_that_lack_a_key_are_drawn_as_its_default(moved: Path) -> None:
    for path in moved.glob("runs/*/record.json"):
        record = json.loads(path.read_text())
        del record["config"]["method"]["kd_weight"], record["config"]["recipe"]["milestones"]
        path.write_text(json.dumps(record))
    assert {run.config.method.kd_weight for run in runs_below(moved)} == {0.0}
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == NEED_A_TEACHER | {"btkd"}


@pytest.mark.usefixtures("few")
def test_the_teacher_is_found_by_the_signature_in_the_record(moved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(obtain, "_train", lambda *_: pytest.fail("a figure trained a teacher"))
    (folder,) = moved.glob("teachers/*")
    folder.rename(folder.with_name("0123456789abcdef"))
    for path in moved.glob("runs/*/record.json"):
        path.write_text(path.read_text().replace(folder.name, "0123456789abcdef"))
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == NEED_A_TEACHER | {"btkd"}


@pytest.mark.usefixtures("few")
def test_other_data_than_those_of_the_run_are_not_drawn(moved: Path) -> None:
    for path in moved.glob("runs/*/record.json"):
        record = json.loads(path.read_text())
        record["data"]["test"] = 10000
        path.write_text(json.dumps(record))
    _, outcomes, _ = write_figures(moved)
    assert written(outcomes) == {"btkd"}
    assert "test is 450, it was 10000" in by_name(outcomes)["revision"].missing


def test_variants_of_a_method_are_told_apart_by_what_differs(moved: Path) -> None:
    path = record_of(moved, "cmd_p")
    record = json.loads(path.read_text())
    record["config"]["weighting"]["b"] = 8.0
    path.write_text(json.dumps(record))
    labels = [variant.label for variant in variants(runs_below(moved))]
    assert labels[0] == "none (n = 1)"
    assert {"cmd_p, weighting.b=4.0 (n = 1)", "cmd_p, weighting.b=8.0 (n = 1)"} < set(labels)


def test_bands_are_sample_deviations_over_the_seeds_that_measured(made: Path) -> None:
    runs = [run for run in runs_below(made) if run.method == "cmd_p"]
    values = over_seeds(runs, lambda history: history["test_top1"])
    expected = np.std([run.history["test_top1"].iloc[-1] for run in runs], ddof=1)
    assert list(values.index) == [1, 2]
    assert values["sd"].iloc[-1] == pytest.approx(expected)


def test_precision_where_nothing_is_taught_is_nothing() -> None:
    history = pd.DataFrame({"taught_share": [0.0, 0.5], "taught_true_share": [0.0, 0.4]})
    assert precision_of(history).isna().tolist() == [True, False]
    assert precision_of(history).iloc[1] == pytest.approx(80)


@pytest.mark.parametrize("revision", [NoRevision(), ProbabilityShift(), SmoothedLabel(0.1)])
def test_temperatures_are_those_of_training(revision: Revision) -> None:
    generator = torch.Generator().manual_seed(0)
    student, source = (3 * torch.randn(32, 10, generator=generator) for _ in range(2))
    labels = torch.randint(10, (32,), generator=generator)
    temperature = FLSW(tau0=10.0, beta=40.0, gamma=1.0)
    objective = Objective(
        label_loss=CrossEntropy(),
        distiller=KD(),
        revision=revision,
        weighting=ConstantWeighting(),
        temperature=temperature,
        label_weight=0.0,
        label_rows="all",
        weight=1.0,
    )
    found = temperatures(revision, temperature, student, source, labels, 16)
    for part in torch.arange(32).split(16):
        batch = Batch(part, torch.zeros(16, 1, 8, 8), labels[part], labels[part], torch.ones(16))
        outputs = (Output(logits[part], (), (), logits[part]) for logits in (student, source))
        facts = objective(batch, *outputs, Progress.at(0, 1)).statistics
        assert float(found[part].mean()) == pytest.approx(float(facts["temperature_mean"]), rel=1e-6)


def test_the_typical_mistake_is_the_one_of_median_confidence() -> None:
    assert median_confidence(torch.tensor([[9.0, 0.0], [0.1, 0.0], [2.0, 0.0]])) == 2


def test_of_many_classes_the_likeliest_are_shown_with_label_and_prediction() -> None:
    targets = {"teacher": torch.softmax(torch.arange(100.0), 0)}
    classes = shown_classes(targets, label=3, predicted=99)
    assert classes == [3, *range(89, 100)]


def test_scores_that_are_all_equal_have_a_histogram() -> None:
    from matplotlib.figure import Figure

    taught = np.array([True, False, True])
    histogram(Figure().subplots(), np.zeros(3), taught, 0.7)


def test_many_variants_of_btkd_take_several_rows_with_one_scale(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setting = next(setting for setting in settings(runs_below(made)) if "symmetric" not in setting.slug)
    (one,) = btkd.variants([run for run in setting.runs if run.method == "btkd"])
    monkeypatch.setattr(btkd, "variants", lambda runs: [one] * 5)
    monkeypatch.setattr(btkd, "COLUMNS_OF_PANELS", 2)
    figure = btkd.draw(replace(setting, runs=one.runs))
    figure.draw_without_rendering()
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert len(panels) == 10
    assert len({axes.get_ylim() for axes in panels if axes.get_ylim() != (-0.05, 1.05)}) == 1
