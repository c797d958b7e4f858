"""The sweep by a real SLURM, which takes two of its runs away half-way."""

from __future__ import annotations

import json
import os
import re
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.launchers.conftest import EPOCHS, assert_same_results, finish, row_count, start
from tests.launchers.slurm_here import Slurm, missing, slurm, wait_for

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="needs hydra-submitit-launcher")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]


@pytest.fixture
def engine() -> Iterator[Slurm]:
    # Not below pytest's folder: munge's user may not enter that.
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm(Path(folder)) as here:
        yield here


def test_runs_that_slurm_kills_or_warns_half_way_end_exact(engine: Slurm, basic: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    resources = [f"hydra.launcher.{field}" for field in ("cpus_per_task=1", "mem_gb=1", "timeout_min=60")]
    sweep = start(results, "hydra/launcher=slurm_cpu", *resources, environment=engine.environment)
    try:
        killed, run_killed, task = _stopped_half_way(engine, results, lambda _: True)
        before_kill = (run_killed / "history.csv").read_text()
        engine.ask("scontrol", "requeue", killed)
        os.kill(task, signal.SIGKILL)  # as SLURM does after some seconds of grace

        warned, run_warned, task = _stopped_half_way(engine, results, lambda job: job != killed)
        before_warning = (run_warned / "history.csv").read_text()
        os.kill(task, signal.SIGUSR2)  # as SLURM does before the time limit; the run queues itself again
        os.kill(task, signal.SIGCONT)
    except BaseException:
        sweep.kill()
        print(sweep.communicate()[0])
        raise
    out = finish(sweep)
    assert "sweep of 4 runs: 4 done" in out
    for job in (killed, warned):
        assert re.search(r"Restarts=1\b", engine.ask("scontrol", "show", "job", job)), job
    # The epochs from before, with the seconds they took, are still there: they were not trained again.
    assert (run_killed / "history.csv").read_text().startswith(before_kill)
    assert (run_warned / "history.csv").read_text().startswith(before_warning)
    assert_same_results(results, basic)
    assert list(results.glob("multirun/*/slurm/*/*.out")), "the logs of SLURM's jobs lie below the results folder"


def _stopped_half_way(engine: Slurm, results: Path, wanted: Callable[[str], bool]) -> tuple[str, Path, int]:
    """A job of the array, its run and its process, which is stopped after its first epoch and before its last."""
    found: list[tuple[str, Path]] = []

    def training() -> bool:
        array = engine.ask("squeue", "--noheader", "--states=RUNNING", "--format=%A %K").splitlines()
        for job, number in map(str.split, array):
            outcome = next(results.glob(f"multirun/*/{number}/outcome.json"), None)
            run = Path(json.loads(outcome.read_text())["run"]) if outcome is not None else None
            if run is not None and wanted(job) and 0 < row_count(run) < EPOCHS:
                found.append((job, run))
                return True
        return False

    wait_for(training, "a run in mid-training", engine.logs, seconds=120)
    job, run = found[0]
    task = engine.processes(job)[0]
    os.kill(task, signal.SIGSTOP)
    assert 0 < row_count(run) < EPOCHS
    assert json.loads((run / "record.json").read_text())["status"] == "running"
    return job, run, task
