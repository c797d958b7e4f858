"""The sweep by joblib: several runs at a time in processes of this machine that are used again."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from kd_experiments import files
from tests.conftest import PATIENCE, records
from tests.launchers.conftest import assert_same_results, finish, row_count, start

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher")
pytestmark = pytest.mark.slow

TWO = ("hydra/launcher=parallel", "hydra.launcher.n_jobs=2")


def test_a_sweep_run_by_joblib_gives_the_same_runs_and_tables(basic: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    out = finish(start(results, *TWO))
    assert "sweep of 4 runs: 4 done" in out
    assert_same_results(results, basic)


@pytest.mark.parametrize("everybody", [False, True])
def test_a_sweep_that_is_asked_to_stop_finishes_its_steps(basic: Path, tmp_path: Path, everybody: bool) -> None:
    """As a scheduler asks, the process that was started or all of them: each run is kept in the middle of its epoch."""
    results = tmp_path / "results"
    process = start(results, *TWO)
    until = time.monotonic() + PATIENCE
    while sum(row_count(run) > 0 for run in results.glob("runs/*")) < 2 and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    (os.killpg if everybody else os.kill)(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 143, out
    assert "stopped; the same command goes on from where it was" in out and "Traceback" not in out
    stopped = [path.parent for path in results.glob("runs/*/checkpoint.pt")]
    kept = [files.load_own(run / "checkpoint.pt") for run in stopped]
    assert kept and all(one["begun"] is not None or len(one["history"]) == row_count(run)
                        for one, run in zip(kept, stopped, strict=True))  # fmt: skip
    assert all("stopped" not in str(record["error"]) for record in records(results)), "no failure"
    assert "sweep of 4 runs: " in finish(start(results, *TWO))
    assert_same_results(results, basic)
