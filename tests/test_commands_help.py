"""Every command tells how it is used."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from kd_experiments.places import PACKAGE

# Every package that can be run, but the command line itself (test_cli).
COMMANDS = sorted(
    ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    for path in PACKAGE.rglob("__main__.py")
    if path.parent != PACKAGE
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert importlib.import_module(f"{command}.__main__").main(["--help"]) == 0
    answer = capsys.readouterr()
    has_results = command != "kd_experiments.networks"
    assert answer.err == "" and f"python -m {command}" in answer.out and ("paths.results=" in answer.out) == has_results
    assert not list(tmp_path.iterdir()), "asking changes nothing"


def test_there_is_a_list() -> None:
    assert {"kd_experiments.reporting", "kd_experiments.sweeping", "kd_experiments.teachers"} <= set(COMMANDS)


def test_what_was_typed_is_told_without_its_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert importlib.import_module("kd_experiments.sweeping.__main__").main(["list", "\x1b[31m=1"]) == 2
    assert capsys.readouterr().err.startswith("error: ?[31m: no such key")
