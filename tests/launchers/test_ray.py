"""The sweep by a Ray that is started on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launchers.conftest import assert_same_results, finish, start

pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="needs hydra-ray-launcher")
pytest.importorskip("ray", reason="needs ray")
pytestmark = pytest.mark.slow


def test_a_sweep_run_by_ray_gives_the_same_runs_and_tables(basic: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    out = finish(start(results, "hydra/launcher=ray_local"))
    assert "sweep of 4 runs: 4 done" in out
    assert_same_results(results, basic)
