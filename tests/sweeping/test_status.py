"""The list of sweeps and the state of runs: from no run at all to ten thousand, and with broken records among them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from kd_experiments import files
from kd_experiments.sweeping import listing as listing_module
from kd_experiments.sweeping.__main__ import main
from kd_experiments.sweeping.definitions import Job, Outline, Sweep, TableLayout
from kd_experiments.sweeping.listing import listing
from kd_experiments.sweeping.status import status_of_one
from kd_experiments.tracking.words import duration
from tests.reporting.synthetic import record

RUNS = [f"{seed:016x}" for seed in range(4)]  # their signatures
SWEEP = Sweep(
    "some",
    "Some methods.",
    "",
    TableLayout(("method",), (), {}),
    tuple(Job({"seed": str(seed), "method": "kd"}, run) for seed, run in enumerate(RUNS)),
)
OUTLINE = Outline(SWEEP.name, SWEEP.title, "", SWEEP.table, tuple(job.overrides for job in SWEEP.jobs))
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a record as a run would."""

    def one(name: str, status: str = "complete", **changes: Any) -> Path:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        done = status == "complete"
        usual = {
            "metrics": record("kd", 3)["metrics"] | {"test_top1_last": 91.25} if done else {},
            "timing": {"this_call_seconds": 30.0, "train_seconds": 20.0, "images_per_second": 9.0} if done else {},
            "finished": "2026-01-01T10:00:30+00:00" if done else None,
        } | ({"signature": name} if name in RUNS else {})
        files.write_json(folder / "record.json", record("kd", 3, status=status, **(usual | changes)))
        return folder

    return one


@pytest.fixture
def one_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_experiments.sweeping import status

    monkeypatch.setattr(listing_module, "names", lambda: [SWEEP.name])
    monkeypatch.setattr(listing_module, "outline", lambda name, over=(): OUTLINE)
    monkeypatch.setattr(listing_module, "read", lambda name, results, over=(): SWEEP)
    # These records are too poor to tell which sweep they may belong to.
    monkeypatch.setattr(listing_module, "begun", lambda names, configs: list(names))
    monkeypatch.setattr(status, "read", lambda name, results, over=(): SWEEP)


def test_the_list_counts_and_estimates(one_sweep: None, tmp_path: Path, write: Write) -> None:
    assert listing(tmp_path)[1].split()[:4] == ["some", "4", "0", "unknown"]
    write("of another sweep")
    assert listing(tmp_path)[1].split()[:4] == ["some", "4", "0", "unknown"]
    write(RUNS[0])
    write(
        RUNS[1], timing={"this_call_seconds": 10.0, "train_seconds": 90.0, "images_per_second": 9.0}
    )  # resumed: it took 90 s at least
    write(RUNS[2], "failed", error="no")
    line = listing(tmp_path)[1]
    assert line.split()[:5] == ["some", "4", "2", "2", "min"] and line.endswith("Some methods.")
    write(RUNS[2])
    write(RUNS[3])
    assert listing(tmp_path)[1].split()[:4] == ["some", "4", "4", "none"]


def test_status_of_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", f"paths.results={tmp_path}"]) == 0
    assert "no run below" in capsys.readouterr().out


def test_status_of_all(tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write("done")
    write("half", "running", started="2026-01-01T09:00:00+00:00")
    write("bad", "failed", error="Traceback ...\n  line\nRuntimeError: the disk is on fire\n", finished="2026-01-02T00")
    (tmp_path / "runs" / "torn").mkdir()
    (tmp_path / "runs" / "torn" / "record.json").write_text('{"status": "comp')
    busy = write("busy", "running")
    with FileLock(busy / ".lock"):
        assert main(["status", f"paths.results={tmp_path}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    by_run = {line.split()[-1]: line for line in lines if line}
    assert by_run["done"].split()[:2] == ["complete", "kd"] and "seed=3" in by_run["done"]
    assert "91.25  2026-01-01 10:00:30" in by_run["done"]
    assert by_run["half"].startswith("stopped") and by_run["busy"].startswith("running")
    assert by_run["torn"].startswith("unreadable")
    assert f"    RuntimeError: the disk is on fire (log: {tmp_path / 'runs' / 'bad' / 'run.log'})" in lines
    assert lines[-1] == "5 runs: 1 complete, 1 failed, 1 running, 1 stopped, 1 unreadable"


def test_status_of_one_sweep(one_sweep: None, tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    write(RUNS[0])
    bad = write(RUNS[1], "failed", error="recipe.lr=9: training\x1b diverged")
    write(RUNS[2], "running")
    assert main(["status", "name=some", f"paths.results={tmp_path}"]) == 0
    out = capsys.readouterr().out
    assert "4 runs: 1 complete, 1 failed, 1 stopped, 1 not begun" in out
    assert f"  failed     seed=1 method=kd\n    recipe.lr=9: training  diverged (log: {bad / 'run.log'})" in out
    assert "  stopped    seed=2 method=kd" in out and "  not begun  seed=3 method=kd" in out and "seed=0" not in out
    assert "time left: about 2 min" in out
    assert f"run them: python -m kd_experiments --multirun +sweeps=some paths.results={tmp_path}" in out
    told = status_of_one("some", tmp_path / "my results", (), ["imports=[my_kd]"])[-1]
    assert told.endswith(f" +sweeps=some 'paths.results={tmp_path}/my results' 'imports=[my_kd]'")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lst"], "command=lst: no such choice; did you mean list?"),
        (["status", "nam=x"], "nam: no such key; did you mean name?"),
        (["status", "name=lrds_ratoi"], "did you mean lrds_ratio?"),
        (["list", "here"], "here: expected key=value"),
    ],
)
def test_mistakes_are_one_clear_line(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (89, "89 s"), (90, "2 min"), (5400, "1.5 h"), (200000, "2.3 days")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_state_of_runs_is_told_without_torch(tmp_path: Path, write: Write) -> None:
    write("done")
    code = (
        "import sys; from kd_experiments.sweeping.__main__ import main; "
        f"assert main(['status', 'paths.results={tmp_path}']) == 0; assert 'torch' not in sys.modules"
    )
    assert (
        "1 complete" in subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    )
