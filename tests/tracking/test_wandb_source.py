"""Runs sent to Weights & Biases give the files that their records give; a stand-in answers for the service."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_experiments.reporting.__main__ import main
from tests.reporting.synthetic import record, write


def sent(made: dict[str, Any]) -> Any:
    """A run as the service gives it back: its configuration with the rest of its record beside it, as JSON."""
    rest = {key: value for key, value in made.items() if key != "config"}
    config = {**made["config"], "signature": made["signature"], "sweep": made["sweep"], "record": rest}
    return SimpleNamespace(id=made["signature"], config=json.loads(json.dumps(config)))


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Runs that are there; asked for by the address of their project."""
    there: list[Any] = []

    class Api:
        default_entity = "somebody"

        def __init__(self, **settings: object) -> None: ...

        def runs(self, place: str, **settings: object) -> list[Any]:
            if place != "somebody/mine":
                raise ValueError(f"Could not find project {place}")
            return there

    monkeypatch.setattr("wandb.Api", Api)
    return there


def test_the_same_files_come_from_there(tmp_path: Path, service: list[Any]) -> None:
    made = [record(method, seed) for method in ("none", "kd", "lrds") for seed in range(2)]
    made.append(record("kd", 0, status="failed", error="out of memory"))
    service += [sent(one) for one in made]
    write(tmp_path / "here", *made)
    assert main([f"paths.results={tmp_path / 'here'}", "latex=true"]) == 0
    assert main(["source=wandb", "project=mine", f"paths.results={tmp_path / 'there'}", "latex=true"]) == 0
    here, there = (
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*")
         if path.is_file() and "runs" not in path.relative_to(folder).parts}
        for folder in (tmp_path / "here", tmp_path / "there")
    )  # fmt: skip
    assert set(here) == set(there) and "report/index.html" in here
    assert [name for name in here if here[name] != there[name]] == ["report/index.html"]  # curves and logs stay here


def test_what_is_no_run_of_ours_is_said(tmp_path: Path, service: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    service += [sent(record("kd", 0)), SimpleNamespace(id="other", config={"lr": 1})]
    where = f"paths.results={tmp_path}"
    assert main(["source=wandb", "project=mine", where, "write=nothing"]) == 0
    out = capsys.readouterr().out
    assert "1 complete" in out and "left out: somebody/mine/other: not a run of this program" in out
    assert main(["source=wandb", "project=yours", where]) == 2
    assert "give entity=ENTITY project=PROJECT" in capsys.readouterr().err
