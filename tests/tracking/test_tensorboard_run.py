"""The mirror in TensorBoard's files, read with TensorBoard's own reader."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from kd_experiments import stopping
from kd_experiments.tracking.display import Display
from tests.conftest import Cli, records

pytest.importorskip("tensorboard", reason="needs tensorboard")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Name -> (step, value) in the order they were written, of all event files of a run."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder))
    read.Reload()
    return {name: [(event.step, event.value) for event in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_history_and_figures_stand_there_once(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after the run was stopped and went on."""
    real = Display.epoch

    def pull(self: Display, row: dict[str, float]) -> None:
        if row["epoch"] == 1:
            raise stopping.Stopped(signal.SIGINT)
        real(self, row)

    asked = ("method=none", "tracking=tensorboard", "tracking.mode=offline", "recipe.epochs=3")
    monkeypatch.setattr(Display, "epoch", pull)
    assert cli(*asked).code == 130
    monkeypatch.setattr(Display, "epoch", real)
    answer = cli(*asked)
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    found = scalars(tmp_path / "tensorboard" / record["signature"])
    with open(tmp_path / "runs" / record["signature"] / "history.csv", newline="") as file:
        history = list(csv.DictReader(file))
    for name in set(history[0]) - {"epoch"}:
        expected = [(int(float(row["epoch"])), pytest.approx(float(row[name]), rel=1e-5)) for row in history]
        assert found[name] == expected, name
    metrics = {name.removeprefix("summary/"): value for name, value in found.items() if name.startswith("summary/")}
    assert {name: value[0][1] for name, value in metrics.items()} == pytest.approx(record["metrics"], rel=1e-5)
    assert all(len(value) == 1 for value in metrics.values()) and not (tmp_path / "wandb").exists()


def test_disabled_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=none", "tracking=tensorboard").code == 0
    assert not (tmp_path / "tensorboard").exists()


def test_what_is_not_installed_is_told_before_anything_is_trained(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kd_experiments.tracking.tensorboard_run.importlib.util.find_spec", lambda name: None)
    answer = cli("method=none", "tracking=tensorboard", "tracking.mode=offline")
    assert answer.code == 2 and answer.err == (
        "error: tracking=tensorboard: not installed; type: pip install 'kd_experiments[tensorboard]'\n"
    )
    assert not list(tmp_path.glob("runs/*/record.json"))


def test_its_own_keys_alone(cli: Cli) -> None:
    answer = cli("method=none", "tracking=tensorboard", "tracking.project=mine")
    assert answer.code == 2 and "tracking.project: no such key for tracking=tensorboard" in answer.err
