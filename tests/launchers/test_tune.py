"""Tuning by Optuna: on val, and the same trials again when asked again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import Cli, records

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs hydra-optuna-sweeper")
pytestmark = pytest.mark.slow

SEARCH = ("hydra/sweeper=tune", "hydra.sweeper.n_trials=4", "hydra.sweeper.sampler.n_startup_trials=2", "method=none")


def test_the_best_trial_is_the_best_on_val(cli: Cli, tmp_path: Path) -> None:
    search = (*SEARCH, "recipe.lr=interval(0.001,0.1)")
    answer = cli("--multirun", *search)
    assert answer.code == 0, answer.err
    first = records(tmp_path)
    assert len(first) == 4
    best = max(first, key=lambda record: record["metrics"]["val_top1_last"])
    found = _found(tmp_path)
    assert found["best_value"] == best["metrics"]["val_top1_last"]
    assert found["best_params"]["recipe.lr"] == best["config"]["recipe"]["lr"]

    assert cli("--multirun", *search).code == 0
    assert records(tmp_path) == first, "the same trials, none run again"
    assert _found(tmp_path) == found


def test_a_trial_that_fails_does_not_end_the_search(cli: Cli, tmp_path: Path) -> None:
    answer = cli("--multirun", *SEARCH, "recipe.lr=choice(-1,0.05)", "hydra.sweeper.sampler.seed=1")
    assert answer.code == 1
    assert "failed: " in answer.out
    assert _found(tmp_path)["best_params"] == {"recipe.lr": 0.05}


def _found(results: Path) -> dict[str, object]:
    newest = max(results.glob("multirun/*/optimization_results.yaml"))
    content = yaml.safe_load(newest.read_text())
    assert isinstance(content, dict)
    return content
