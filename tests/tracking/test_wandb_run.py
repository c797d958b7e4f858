"""The mirror in Weights & Biases, with the real SDK, offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from kd_experiments.tracking.record import as_record
from kd_experiments.tracking.wandb_run import _in_percent, _swept
from tests.conftest import Cli, read_offline_run, records
from tests.reporting.synthetic import record


@pytest.mark.slow
def test_a_sweep_is_one_run_a_job_with_one_row_an_epoch(cli: Cli, tmp_path: Path) -> None:
    answer = cli("--multirun", "method=none,kd", "seed=0,1", "tracking.mode=offline", "tracking.tags=[mine]")
    assert answer.code == 0, answer.err
    files = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 4
    runs = [read_offline_run(path) for path in files]
    for run in runs:
        assert [row["epoch"] for row in run["history"]] == [0, 1]
        assert all("loss" in row and "test_top1" in row for row in run["history"])
        assert "mine" in run["tags"] and run["config"]["dataset"]["name"] == "digits"
    groups = {run["name"]: run["group"] for run in runs}
    assert len(groups) == 4 and len(set(groups.values())) == 2, "a group holds all seeds of one configuration"
    assert all(set(run["summary"]).isdisjoint({"test_top1", "epoch", "loss"}) for run in runs), "told once"
    logged = {run["config"]["signature"]: run["summary"]["test_top1_last"] for run in runs}
    assert logged == {record["signature"]: record["metrics"]["test_top1_last"] for record in records(tmp_path)}


def test_a_run_of_a_sweep_is_grouped_and_tagged_by_it(cli: Cli, tmp_path: Path) -> None:
    sweep = ["+sweeps=cmd_noise_symmetric", "experiment=small/digits", "method=none", "seed=1", "tracking.mode=offline"]
    answer = cli(*sweep, "recipe.evaluate_every=1")
    assert answer.code == 0, answer.err
    (file,) = (tmp_path / "wandb").glob("offline-run-*/*.wandb")
    run = read_offline_run(file)
    assert run["group"].startswith("none on digits") and "symmetric" in run["group"]
    assert run["tags"] == ["none", "digits", "resnet8", "seed1", "cmd_noise_symmetric"]
    assert run["config"]["sweep"] == "cmd_noise_symmetric" and "recipe.epochs=2" in run["name"]


def test_a_run_asked_for_again_stays_one_offline_folder(cli: Cli, tmp_path: Path) -> None:
    for again in ((), ("rerun=true", "tracking.artifact=true")):
        assert cli("method=none", "tracking.mode=offline", *again).code == 0
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert folder.name.endswith(records(tmp_path)[0]["signature"])


def test_a_failing_tracker_is_a_warning(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise RuntimeError("the service is down")

    monkeypatch.setattr("wandb.init", broken)
    answer = cli("method=none", "tracking.mode=offline")
    assert answer.code == 0
    assert answer.out.count("warning: Weights & Biases is off for this run: the service is down") == 1
    assert records(tmp_path)[0]["status"] == "complete"


def test_online_without_a_login_still_runs(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def not_logged_in(*arguments: object, **options: object) -> None:
        from wandb.errors import UsageError

        raise UsageError("No API key configured. Use `wandb login` to log in.")

    monkeypatch.setattr("wandb.init", not_logged_in)
    answer = cli("method=none", "tracking.mode=online")
    assert answer.code == 0 and "No API key configured" in answer.out


def test_disabled_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=none", "tracking.mode=disabled").code == 0
    assert not (tmp_path / "wandb").exists()


def test_a_name_says_what_was_typed_and_not_where_things_lie() -> None:
    words = ("method=kd", "recipe.lr=0.01", "dataset.root=/mine", "imports=[my_kd]", "threads=2", "seed=1")
    assert _swept(as_record(record("kd", typed=words), "a test")) == ["recipe.lr=0.01"]


def test_shares_have_the_unit_of_accuracies() -> None:
    assert _in_percent({"taught_share": 0.5, "test_top1": 90.0, "loss": 1.0}) == {
        "taught_share": 50.0, "test_top1": 90.0, "loss": 1.0,
    }  # fmt: skip
