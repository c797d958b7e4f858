"""What may go is listed with its size, and removed where that is asked for; never what a process works on."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from kd_experiments import files
from kd_experiments.sweeping.__main__ import main
from kd_experiments.sweeping.outcome import Outcome, began
from tests.reporting.synthetic import record


def run(results: Path, signature: str, status: str = "complete", teacher: str | None = None, **changes: Any) -> Path:
    folder = results / "runs" / signature
    made = record("kd") | {"status": status, "teacher_signature": teacher} | changes
    files.write_json(folder / "record.json", made)
    (folder / "student.pt").write_bytes(bytes(50_000))
    return folder


def teacher(results: Path, signature: str) -> Path:
    folder = results / "teachers" / signature
    folder.mkdir(parents=True)
    (folder / "teacher.pt").write_bytes(bytes(2_000_000))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run and a teacher to keep, and one of everything that may go."""
    run(tmp_path, "kept", teacher="asked")
    run(tmp_path, "failed", "failed", teacher="unused", error="Traceback\nRuntimeError: no luck")
    (run(tmp_path, "damaged") / "record.json").write_text("{")
    (tmp_path / "runs" / "empty").mkdir()
    old = run(tmp_path, "old") / "record.json"
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    teacher(tmp_path, "asked")
    teacher(tmp_path, "unused")
    multirun = tmp_path / "multirun"
    began(multirun / "refused", ["seed=0"])
    Outcome("failed", None, "mistyped").write(multirun / "refused" / "0")
    began(multirun / "queued", ["seed=0", "seed=1"])  # on a cluster that is busy
    Outcome("failed", None, "mistyped").write(multirun / "queued" / "0")
    run(tmp_path, "other_form", teacher="asked_then", schema=1)
    teacher(tmp_path, "asked_then")
    Outcome("done", str(tmp_path / "runs" / "kept")).write(tmp_path / "multirun" / "fine" / "0")
    return tmp_path


def folders(results: Path) -> set[str]:
    return {path.name for kind in ("runs", "teachers", "multirun") for path in (results / kind).iterdir()}


def clean(results: Path, *words: str) -> int:
    return main(["clean", f"paths.results={results}", *words])


def test_it_lists_and_removes_nothing(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = folders(results)
    assert clean(results) == 0
    said = capsys.readouterr().out
    rows = {line.split()[2].rsplit("/", 1)[-1]: line for line in said.splitlines() if str(results) in line}
    assert rows.keys() == {"failed", "damaged", "empty", "unused", "refused"} and folders(results) == before
    assert "run: failed, RuntimeError: no luck" in rows["failed"] and rows["unused"].lstrip().startswith("2.0 MB")
    assert "teacher: no run that is kept has asked it" in rows["unused"] and "began no run" in rows["refused"]
    assert "5 folders, 2." in said and "yes=true removes them" in said


def test_yes_removes_what_was_listed_and_nothing_else(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert clean(results, "yes=true") == 0 and "removed: 5 folders" in capsys.readouterr().out
    assert folders(results) == {"kept", "old", "asked", "fine", "queued", "other_form", "asked_then"}
    assert clean(results, "yes=true") == 0 and "nothing to remove" in capsys.readouterr().out


def test_old_and_named_runs_and_their_teachers(results: Path) -> None:
    os.utime(results / "multirun" / "queued", (time.time() - 40 * 86400,) * 2)
    assert clean(results, "older=30", "runs=kept", "yes=true") == 0
    assert folders(results) == {"fine", "other_form", "asked_then"}


def test_what_a_process_works_on_stays(results: Path) -> None:
    (results / "runs" / "failed" / "record.json").touch()
    with FileLock(results / "runs" / "failed" / ".lock"), FileLock(results / "teachers" / "unused" / ".lock"):
        assert clean(results, "yes=true") == 0
    assert {"failed", "unused"} <= folders(results)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["older=long"], "older=long: expected a number of days"),
        (["older=-1"], "older=-1: expected a number of days"),
        (["runs=keptt"], "runs=keptt: no run of this signature in"),
        (["yes=please"], "yes=please: no such choice"),
        (["yse=true"], "did you mean yes?"),
    ],
)
def test_mistakes(results: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    before = folders(results)
    assert clean(results, *words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and folders(results) == before
