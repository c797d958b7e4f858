"""The sweep by joblib: several runs at a time in processes of this machine that are used again."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launchers.conftest import assert_same_results, finish, start

pytest.importorskip("hydra_plugins.hydra_joblib_launcher", reason="needs hydra-joblib-launcher")
pytestmark = pytest.mark.slow


def test_a_sweep_run_by_joblib_gives_the_same_runs_and_tables(basic: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    out = finish(start(results, "hydra/launcher=parallel", "hydra.launcher.n_jobs=2"))
    assert "sweep of 4 runs: 4 done" in out
    assert_same_results(results, basic)
