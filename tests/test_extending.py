"""docs/extending.md: every file written, every command run, from an empty folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kd_experiments import own_code
from kd_experiments.cli.choices import SCRIPT
from kd_experiments.data.__main__ import main as data
from kd_experiments.data.load import READERS
from kd_experiments.data.settings import DATASETS
from kd_experiments.distillers import DISTILLERS
from kd_experiments.networks import CATALOGUE
from kd_experiments.places import PACKAGE
from kd_experiments.supervision.revision import REVISIONS
from kd_experiments.sweeping.__main__ import main as sweeping
from tests.conftest import TINY, Cli, records

pytestmark = pytest.mark.slow

PAGE = (PACKAGE.parent / "docs" / "extending.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
SMALL = tuple(word for word in TINY if not word.startswith("teacher="))


def small(words: list[str]) -> list[str]:
    """What makes a command of the page a matter of seconds."""
    return [*SMALL, *(["teacher.network=resnet8"] if not any(word.startswith("teacher=") for word in words) else [])]


def write_files(folder: Path) -> None:
    """Every complete file of the page: a name in backticks on a line of its own, and the block under it."""
    for name, text in re.findall(r"^`(my_kd/\S+)`\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the page's files; nothing of them is left afterwards."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    write_files(folder)
    monkeypatch.chdir(folder)
    monkeypatch.setenv(own_code.VARIABLE, "")
    path, loaded, states = list(sys.path), dict(own_code._loaded), dict(own_code._states)
    yield folder
    sys.path[:], own_code._loaded, own_code._states = path, loaded, states
    for registry, name in ((DISTILLERS, "huber"), (REVISIONS, "halfway"), (DATASETS, "moons")):
        registry._choices.pop(name, None)  # type: ignore[attr-defined]
    CATALOGUE.pop("tiny", None)
    READERS.pop("moons", None)
    for module in [module for module in sys.modules if module.split(".")[0] == "my_kd"]:
        del sys.modules[module]


def test_the_page_has_something_to_run() -> None:
    assert len(COMMANDS) >= 8 and all(command.startswith("python -m kd_experiments") for command in COMMANDS)


def test_every_example_runs(elsewhere: Path, cli: Cli, tmp_path: Path) -> None:
    for command in COMMANDS:
        _, _, module, *words = shlex.split(command)
        if module == "kd_experiments":
            answer = cli(*small(words), f"paths.teachers={tmp_path}/teachers", *words, tiny=False)
            assert answer.code == 0, (command, answer.err)
        else:
            main = {"kd_experiments.sweeping": sweeping, "kd_experiments.data": data}[module]
            assert main([*words, f"paths.results={tmp_path}"]) == 0, command
    found = records(tmp_path)
    assert all(record["status"] == "complete" for record in found)
    assert {"huber", "kd"} <= {record["config"]["method"]["name"] for record in found}
    assert {"tiny", "my_kd.nets.tiny"} <= {record["student"]["network"] for record in found}
    assert "moons" in {record["config"]["dataset"]["name"] for record in found}
    assert "tiny" in {record["teacher"]["network"] for record in found if record["teacher"] is not None}
    assert "halfway" in {record["config"]["revision"]["name"] for record in found}
    own = [record["identity"]["own_code"] for record in found if record["config"]["dataset"]["name"] == "moons"]
    assert own and "dataset" in own[0], "the reader's source is part of what the run is"


def test_the_notebook_block_runs(elsewhere: Path) -> None:
    (block,) = re.findall(r"^## In a notebook\n\n```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)
    space: dict[str, Any] = {"more": small([])}
    exec(block.replace('"seed=1"]', '"seed=1", *more]'), space)
    record, frame, samples, student = (space[name] for name in ("record", "frame", "samples", "student"))
    assert list(frame["signature"]) == [record.signature] and len(samples) == 200 and student.size == 8


@pytest.mark.slow
def test_every_example_runs_against_the_installed_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    subprocess.run([*build, str(PACKAGE.parent)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    write_files(empty)
    environment = dict(os.environ) | {"PYTHONPATH": str(site), own_code.VARIABLE: ""}
    installed = [sys.executable, str(site / "bin" / "kd-experiments")]
    for words, expected in ((["--complete", "method=lrd"], "method=lrds\n"), (["--completion"], f"{SCRIPT}\n")):
        done = subprocess.run([*installed, *words], cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout == expected, done.stderr
    for command in COMMANDS:
        _, *words = shlex.split(command)
        more = small(words) if words[1] == "kd_experiments" else []
        done = subprocess.run(
            [sys.executable, *words, *more], cwd=empty, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr)
    assert {path.name for path in empty.iterdir()} == {"my_kd", "results", "tiny.pth"}
