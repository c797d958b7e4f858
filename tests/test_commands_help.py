"""Every command tells how it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kd_experiments.places import PACKAGE

# Every package that can be run, but the command line itself (test_cli); `networks` takes no arguments.
COMMANDS = sorted(
    ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    for path in PACKAGE.rglob("__main__.py")
    if path.parent != PACKAGE
)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "kd_experiments.networks"])
def test_help(command: str, tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", command, "--help"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PACKAGE.parent)},
    )
    assert answer.returncode == 0 and answer.stderr == ""
    assert f"python -m {command}" in answer.stdout and "paths.results=" in answer.stdout
    assert not list(tmp_path.iterdir()), "asking changes nothing"


def test_there_is_a_list() -> None:
    assert {"kd_experiments.reporting", "kd_experiments.sweeping", "kd_experiments.teachers"} <= set(COMMANDS)
