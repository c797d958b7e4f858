"""The built wheel carries its configuration and runs from an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kd_experiments.places import PACKAGE
from tests.conftest import TINY


@pytest.mark.slow
def test_the_wheel_runs_from_an_empty_folder(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(PACKAGE.parent)],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    unpacked, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    assert (unpacked / "kd_experiments" / "conf" / "config.yaml").exists()
    assert (unpacked / "kd_experiments" / "sweeps" / "small" / "precision.yaml").exists()
    assert (unpacked / "kd_experiments" / "reporting" / "assets" / "page.html").exists()
    environment = dict(os.environ) | {"PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-m", "kd_experiments", *TINY, "method=kd"]
    finished = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert (empty / "results" / "runs").exists() and [path.name for path in empty.iterdir()] == ["results"]
    where = "import kd_experiments; print(kd_experiments.__file__)"
    found = subprocess.run([sys.executable, "-c", where], cwd=empty, env=environment, capture_output=True, text=True)
    assert str(unpacked) in found.stdout
