"""What a notebook imports: runs, tables, samples and students, with the errors of the command line."""

from __future__ import annotations

import ast
import errno
import os
import shutil
from pathlib import Path

import pytest
import torch

import kd_experiments
from kd_experiments import experiment as kd
from kd_experiments.tracking.record import Record
from kd_experiments.training import devices
from tests.conftest import TINY, Cli, shared_teachers


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebook")


@pytest.fixture(scope="module")
def record(results: Path) -> Record:
    noise = ("label_noise=symmetric", "label_noise.rate=0.2")
    made: Record = kd.run([*TINY, "method=lrds", *noise, "samples=true", f"paths.results={results}"])
    return made


def test_a_run_is_a_typed_record(record: Record, results: Path) -> None:
    assert isinstance(record, Record) and record.status == "complete" and record.metrics["test_top1_last"] > 0
    again = kd.run(record.typed)
    assert again.signature == record.signature and again.started == record.started, "answered from the record"


def test_runs_are_a_frame(record: Record, results: Path) -> None:
    frame = kd.runs(results)
    (row,) = frame.to_dict("records")
    assert row["signature"] == record.signature and row["seed"] == 0
    assert row["metrics.test_top1_last"] == record.metrics["test_top1_last"]


def test_samples_agree_with_the_record(record: Record, results: Path) -> None:
    assert (results / "runs" / record.signature / "samples.csv").exists(), "samples=true"
    frame = kd.samples(record.signature, results)
    assert record.data is not None and record.revision is not None and record.selection is not None
    assert len(frame) == record.data.train == 200
    assert int((frame["label"] != frame["given_label"]).sum()) == record.data.noisy_labels > 0
    assert int(frame["wrong"].sum()) == record.revision.wrong
    assert ((frame["teacher_prediction"] != frame["given_label"]) == frame["wrong"].astype(bool)).all()
    assert int(frame["selected"].sum()) == record.selection.selected == 160
    assert int(frame["revised"].sum()) == record.revision.revised
    assert (frame["p_prediction"] >= frame["p_label"] - 1e-6).all() and frame["p_prediction"].between(0, 1).all()
    taught = frame[frame["selected"] == 1]["influence"]
    assert taught.max() <= frame[frame["selected"] == 0]["influence"].min(), "the lowest are selected"
    fit = 100 * float((frame["student_prediction"] == frame["given_label"]).mean())
    assert fit == pytest.approx(record.metrics["train_top1_last"], abs=1e-3)


def test_a_damaged_selection_or_table_of_samples_is_made_again(
    record: Record, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, run = kd.samples(record.signature, results), results / "runs" / record.signature
    for name in ("selected.csv", "samples.csv"):
        whole = (run / name).read_bytes()
        (run / name).write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + b"\n")  # one digit is another one
        if name == "selected.csv":
            (run / "samples.csv").unlink()
        assert kd.samples(record.signature, results).equals(right)
        assert (run / name).read_bytes() == whole
        assert capsys.readouterr().err.count(f"{name}: damaged") == 1


def test_samples_are_made_when_they_are_asked_for(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("method=none").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert not (run / "samples.csv").exists()
    frame = kd.samples(run.name, tmp_path)
    assert list(frame) == ["index", "label", "given_label", "student_prediction"] and len(frame) == 200
    (run / "samples.csv").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(devices, "_precision", "bfloat16")  # of a run before
        kd.samples(run.name, tmp_path)
        assert devices._precision == "auto"
    (run / "samples.csv").unlink()
    answer = cli("method=none", "samples=true")
    assert answer.code == 0 and "already done" in answer.out and (run / "samples.csv").exists()


def test_results_that_were_moved_are_looked_at_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = kd.run([*TINY, "method=kd"])
    moved, elsewhere = tmp_path / "moved", tmp_path / "elsewhere"
    shutil.move(tmp_path / "results", moved)
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    frame = kd.samples(record.signature, moved)
    assert record.revision is not None and int(frame["wrong"].sum()) == record.revision.wrong
    (moved / "runs" / record.signature / "samples.csv").unlink()
    shutil.rmtree(moved / "teachers")
    with pytest.raises(kd.UserError, match="the run's teacher is gone"):
        kd.samples(record.signature, moved)
    assert not any(elsewhere.iterdir()) and not (moved / "teachers").exists()


def test_a_student_takes_images_as_they_are(record: Record, results: Path) -> None:
    from kd_experiments.data.digits import read_digits

    student = kd.load_student(record.signature, results)
    source = read_digits()
    images, labels = source.test_images, source.test_labels
    logits = student(images)
    assert 100 * float((logits.argmax(1) == labels).float().mean()) == pytest.approx(
        record.metrics["test_top1_last"], abs=1e-3
    )
    torch.testing.assert_close(student(images.float() / 255), logits)
    assert student.predict(images[:3]) == [student.class_names[label] for label in logits[:3].argmax(1).tolist()]
    assert student.size == 8 and student.mean.shape == (1,) and not student.training
    torch.testing.assert_close(student(images[0]), logits[:1])
    grey = torch.full((1, 1, 16, 24), 0.5)
    torch.testing.assert_close(student(grey), student(grey[..., :8, :8]))


def full(*given: object, **more: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "results")


def test_mistakes_are_those_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for overrides, words in (
        (["method=krd"], "did you mean kd?"),
        (["temperature=2"], "type temperature.value=2"),
        (["recipe.lr=fast"], "expected a number"),
        (["method=none", "selection=influence"], "has no teacher"),
    ):
        with pytest.raises(kd.UserError, match=r".+") as error:
            kd.run(overrides)
        assert words in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(kd.UserError, match=r"one text; give a list of them: kd.run\(\['method=kd', 'seed=1'\]\)"):
        kd.run("method=kd seed=1")
    monkeypatch.setattr(kd, "run_config", full)
    with pytest.raises(kd.UserError, match=r"No space left on device; give paths\.results=FOLDER"):
        kd.run(["method=none"])
    for function in (kd.samples, kd.load_student):
        with pytest.raises(kd.UserError, match="no run of this signature"):
            function("0123456789abcdef", tmp_path)
    assert len(kd.runs(tmp_path)) == 0


def test_the_package_hands_out_these_and_nothing_else() -> None:
    assert {"run", "runs", "samples", "load_student"} <= set(dir(kd))
    with pytest.raises(AttributeError):
        _ = kd.runn
    tree = ast.parse(Path(str(kd_experiments.__file__)).read_text())
    typed = {name.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for name in node.names}
    assert set(kd_experiments._NOTEBOOK) <= typed, "and a type checker knows them"


def test_a_shared_teacher_is_found(tmp_path: Path) -> None:
    record = kd.run([*TINY, "method=kd", f"paths.results={tmp_path}", shared_teachers()])
    assert record.teacher is not None and not (tmp_path / "teachers").exists()
