"""A sweep asked again does what is missing and nothing else, whatever stopped it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kd_experiments import files, single_run
from kd_experiments.sweeping.callback import SweepReport
from kd_experiments.sweeping.outcome import Outcome, began, progress_line
from kd_experiments.tracking.record import RunFolder
from kd_experiments.training import parallel
from tests.conftest import PATIENCE, TINY, Cli, records

SWEEP = (
    "--multirun",
    "+sweeps=btkd_steps",
    "experiment=small/digits",
    "method=none,kd,btkd",
    "seed=0,1",
    *TINY,
    "recipe.epochs=6",
)


def start(results: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kd_experiments", *SWEEP, f"paths.results={results}"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def complete(results: Path) -> dict[str, tuple[Any, ...]]:
    """Every file of each complete run, with the time it was written."""
    found = {}
    for record in records(results):
        if record["status"] == "complete":
            folder = results / "runs" / record["signature"]
            with contextlib.suppress(FileNotFoundError):  # it is still tidying up: complete the next time one looks
                files = sorted(path for path in folder.iterdir() if path.name != ".lock")
                found[record["signature"]] = tuple((path.name, path.stat().st_mtime_ns) for path in files)
    return found


def half_done(results: Path) -> set[str]:
    """Runs that have a checkpoint but are not complete."""
    with_checkpoint = {path.parent.name for path in (results / "runs").glob("*/checkpoint.pt")}
    return with_checkpoint - set(complete(results))


def kill_when(process: subprocess.Popen[str], reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, "the sweep ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


@pytest.mark.slow
def test_a_sweep_killed_twice_ends_with_exactly_its_runs(cli: Cli, tmp_path: Path) -> None:
    results = tmp_path / "swept"
    kept: dict[str, tuple[Any, ...]] = {}
    resumed: set[str] = set()
    for enough in (1, 3):
        process = start(results)
        kill_when(process, lambda n=enough: len(complete(results)) >= n and bool(half_done(results)))  # type: ignore[misc]
        now = complete(results)
        assert {signature: now[signature] for signature in kept} == kept, "a finished run was touched"
        kept, resumed = now, resumed | half_done(results)
    assert 3 <= len(kept) < 6 and resumed

    said, _ = (last := start(results)).communicate(timeout=PATIENCE)
    assert last.returncode == 0, said
    assert f"sweep of 6 runs: {6 - len(kept)} done, {len(kept)} skipped, complete already" in said
    logs = [path.read_text() for path in (results / "runs").glob("*/run.log")]
    assert sum("resuming after epoch" in log for log in logs) >= 1
    told = [line for line in said.splitlines() if line.startswith("run ")]
    assert len(told) == 6 and told[-1].startswith("run 6 of 6: ")
    assert "full report: python -m kd_experiments.reporting" in said and "Δ" in said
    found = complete(results)
    assert len(found) == len(records(results)) == 6
    assert {signature: found[signature] for signature in kept} == kept, "a finished run was run again"
    swept = {(r["config"]["method"]["name"], r["config"]["seed"]) for r in records(results)}
    assert swept == {(method, seed) for method in ("none", "kd", "btkd") for seed in (0, 1)}

    # What was killed half-way came out as if nothing had happened.
    again = json.loads((results / "runs" / min(resumed) / "record.json").read_text())
    method, seed, alone = again["config"]["method"]["name"], again["config"]["seed"], tmp_path / "alone"
    given = [*SWEEP[1:3], *TINY, "recipe.epochs=6", f"method={method}", f"seed={seed}", f"paths.results={alone}"]
    assert cli(*given, tiny=False).code == 0
    (uninterrupted,) = records(alone)
    assert uninterrupted["signature"] in resumed and uninterrupted["metrics"] == again["metrics"]

    answer = cli(*SWEEP, f"paths.results={results}", tiny=False)
    assert answer.code == 0 and "sweep of 6 runs: 6 skipped, complete already" in answer.out
    assert complete(results) == found


def test_failed_runs_are_told_and_run_again(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One mistake in the configuration, one failure of ours in the middle of a run; the others are run."""
    sound = single_run.load

    def broken(dataset: Any, noise: Any, folder: Path) -> Any:
        if type(noise).__name__ == "Symmetric":
            raise RuntimeError("the disk is on fire")
        return sound(dataset, noise, folder)

    monkeypatch.setattr(single_run, "load", broken)
    command = ("--multirun", "method=none", "label_noise=none,symmetric", "recipe.lr=0.05,-1")
    answer = cli(*command)
    assert answer.code == 1
    assert "sweep of 4 runs: 1 done, 3 failed" in answer.out
    assert "failed: label_noise=none recipe.lr=-1: recipe.lr=-1: must be over 0" in answer.out
    (line,) = [line for line in answer.out.splitlines() if "on fire" in line and line.startswith("  failed:")]
    log = Path(line.split("(log: ")[1].removesuffix(")"))
    assert "label_noise=symmetric recipe.lr=0.05: RuntimeError: the disk is on fire" in line
    assert "Traceback" in log.read_text() and "on fire" in log.read_text()

    monkeypatch.setattr(single_run, "load", sound)
    answer = cli(*command)
    assert answer.code == 1
    assert "sweep of 4 runs: 1 done, 1 skipped, complete already, 2 failed" in answer.out


def test_an_interrupted_sweep_says_how_far_it_came(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from kd_experiments.training.loop import Training

    ordinary = Training.run

    def interrupted(self: Training, *arguments: Any) -> None:
        if self.recipe.lr == 0.02:
            signal.raise_signal(signal.SIGINT)
        ordinary(self, *arguments)

    monkeypatch.setattr(Training, "run", interrupted)
    answer = cli("--multirun", "method=none", "recipe.lr=0.01,0.02,0.03")
    assert answer.code == 130
    assert "sweep of 3 runs: 1 done, 1 failed, 1 not run" in answer.out and "recipe.lr=0.02: stopped" in answer.out


def test_rerun_repeats_a_finished_run(cli: Cli) -> None:
    assert cli("--multirun", "method=none").code == 0
    assert "1 skipped" in cli("--multirun", "method=none").out
    assert "1 done" in cli("--multirun", "method=none", "rerun=true").out


def test_jobs_that_left_no_word(tmp_path: Path) -> None:
    """A launcher may lose jobs: killed ones, ones at work on another machine, ones that never began."""
    sweep = SweepReport()
    sweep.folder, sweep.jobs = tmp_path / "multirun", ["seed=0", "seed=1", "seed=2", "seed=3"]
    runs = [RunFolder(tmp_path / "runs" / str(number)) for number in range(4)]
    Outcome("done", str(runs[0].path)).write(sweep.folder / "0")
    Outcome("started", str(runs[1].path)).write(sweep.folder / "1")
    Outcome("started", str(runs[2].path)).write(sweep.folder / "2")
    with parallel.locked(runs[1].path, print):
        pass  # its process is gone
    with parallel.locked(runs[2].path, print):
        lines, whole = sweep.summary()
    assert not whole
    assert "sweep of 4 runs: 1 done, 1 failed, 1 still running, 1 not run" in lines
    (killed,) = [line for line in lines if "failed:" in line]
    assert "seed=1: ended without a word" in killed and str(runs[1].log) in killed


def test_jobs_of_a_sweeper_that_chooses_as_it_goes(tmp_path: Path) -> None:
    sweep = SweepReport()
    sweep.folder = tmp_path
    assert not sweep.began
    Outcome("done", "run").write(tmp_path / "0")
    Outcome("failed", None, "seed=x: expected a whole number").write(tmp_path / "1")
    lines, whole = sweep.summary()
    assert sweep.began and not whole
    files.write_text(tmp_path / "sweep.json", "[1]")  # not ours
    began(tmp_path / "sweep.json", ["seed=x"])  # where nothing can be written
    assert progress_line(tmp_path / "1", 1, ["seed=x"], "failed") == "run 2, 1 failed: seed=x: failed"
    assert "sweep of 2 runs: 1 done, 1 failed" in lines and "  failed: job 1: seed=x: expected a whole number" in lines
