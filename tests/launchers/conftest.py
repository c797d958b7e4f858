"""One small sweep, run by each launcher in processes of its own, and what must be the same about it every time."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from kd_experiments.reporting.__main__ import main as reporting
from kd_experiments.reporting.frame import digest, runs
from tests.conftest import PATIENCE, TINY, records
from tests.test_own_code import write

EPOCHS = 12  # enough to interrupt a run between two of them
RUNS = 4
SWEEP = (*TINY, f"recipe.epochs={EPOCHS}", "imports=[mine]", "method=none,mine", "seed=0,1")  # with code of one's own


def start(results: Path, *more: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Launch the sweep in a process of its own."""
    write(results.parent, "mine")
    command = [sys.executable, "-m", "kd_experiments", "--multirun", *SWEEP, f"paths.results={results}", *more]
    return subprocess.Popen(
        command,
        cwd=results.parent,
        start_new_session=True,
        env=(environment or dict(os.environ)) | {"RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    """What the sweep printed, once it has ended well."""
    try:
        out, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, out[-4000:]
    return out


@pytest.fixture(scope="session")
def basic(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The results folder of the sweep run one job after another; made once, whichever process asks."""
    base = tmp_path_factory.getbasetemp()
    results = (base if worker_id == "master" else base.parent) / "launched-by-basic"
    with FileLock(f"{results}.lock"):
        if not results.exists():
            finish(start(results))
    return results


def assert_same_results(results: Path, expected: Path) -> None:
    """Every run is complete, with the weights and the figures of every epoch that it has in `expected`, bit for bit."""
    assert [record["status"] for record in records(results)] == ["complete"] * RUNS
    for record, other in zip(records(results), records(expected), strict=True):
        assert record["signature"] == other["signature"]
        assert record["metrics"] == other["metrics"]
        run, reference = (folder / "runs" / record["signature"] for folder in (results, expected))
        assert _history(run) == _history(reference)
        assert len(_history(run)) == EPOCHS
        weights, same = (torch.load(folder / "student.pt", weights_only=True)["model"] for folder in (run, reference))
        assert weights.keys() == same.keys()
        assert all(torch.equal(weights[name], same[name]) for name in same)
    assert len(list((results / "teachers").glob("*/record.json"))) == 1
    assert _tables(results) == _tables(expected)


def _history(run: Path) -> list[dict[str, str]]:
    """history.csv without what time it took."""
    with open(run / "history.csv") as rows:
        return [
            {name: value for name, value in row.items() if name not in ("train_seconds", "images_per_second")}
            for row in csv.DictReader(rows)
        ]


def _tables(results: Path) -> dict[str, bytes]:
    """Name -> content of every table the records make, but for those of the cost."""
    assert reporting([f"paths.results={results}", "write=tables"]) == 0
    mark = digest(runs(results, digits=7)).encode()  # it names the runs with the time they took
    tables = {path.name: path.read_bytes().replace(mark, b"") for path in sorted((results / "tables").iterdir())}
    assert {Path(name).suffix for name in tables} == {".md", ".csv"}
    return tables


def row_count(run: Path) -> int:
    """How many epochs a run has finished."""
    try:
        return len(_history(run))
    except FileNotFoundError:
        return 0
