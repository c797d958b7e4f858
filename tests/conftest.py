"""Options and fixtures of all tests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

os.environ.setdefault("WANDB_SILENT", "true")
settings.register_profile("default", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("default")

GOLDEN = Path(__file__).parent / "golden"

# A run of about a second: enough to learn something, small enough for many tests.
TINY = (
    "dataset.train_size=200",
    "recipe.epochs=2",
    "teacher.recipe.epochs=2",
    "teacher=resnet8",
    "teacher.snapshots=1",
    "tracking.mode=disabled",
    "threads=1",
    "device=cpu",
)


# Seconds a test waits for another process before it calls it hung: a busy machine is no mistake of ours.
PATIENCE = 1800.0

SOAK = os.environ.get("SOAK") == "1"  # `make soak`: every write, thousands of examples

COMPOSED = "KD_EXPERIMENTS_TESTS_COMPOSED"  # the session's folder of composed configurations


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # What `devices.keep_freed_memory` does, for the processes of this session and without importing torch.
    os.environ.update({"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30)})
    if not hasattr(config, "workerinput"):  # the process that starts the others, which inherit what it sets
        os.environ[COMPOSED] = tempfile.mkdtemp(prefix="kd-composed-")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Without slow tests, modules of nothing else are not imported: browsers and schedulers take a while each."""
    if config.option.markexpr != "not slow" or collection_path.suffix != ".py":
        return None
    wholly_slow = re.search(r"^pytestmark = \[?pytest\.mark\.slow\b", collection_path.read_text(), re.MULTILINE)
    return True if wholly_slow else None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    until = item.config.getoption("--until")
    if until is not None and time.time() > until:
        # Only where somebody gave a time: a slow machine then says less instead of being stopped, and the closing
        # lines count what it left out. Without --until nothing is skipped here.
        pytest.skip("its turn did not come in time")
    item.user_properties += [mark.args for mark in item.iter_markers("counts")]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What `make soak` counted; docs/reliability.md has its figures from these lines."""
    passed = terminalreporter.stats.get("passed", ())
    counted = [(report.nodeid, *fact) for report in passed for fact in report.user_properties]
    if not (SOAK and counted):
        return
    lines = ["| Test | Counted | |", "| --- | --- | ---: |"]
    lines += [f"| `{node.removeprefix('tests/')}` | {what} | {number:,} |" for node, what, number in sorted(counted)]
    terminalreporter.section("soak")
    terminalreporter.write_line("\n".join(lines))


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(COMPOSED), ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--until",
        type=float,
        default=None,
        metavar="SECONDS",
        help="begin no test after this time (date +%%s) and say how many were left out: for a slow machine",
    )
    parser.addoption(
        "--golden",
        action="append",
        type=Path,
        default=None,
        metavar="DIR",
        help="a folder with losses*.json + losses*.npz, models.json, or both, to check instead of tests/golden",
    )


@pytest.fixture
def modest() -> Iterator[None]:
    """What a test reads takes less than 2 GiB of memory at its peak, where Linux can tell."""
    from bench.memory import forget_peak, resident

    if sys.platform != "linux":
        yield
        return
    forget_peak()
    before = resident()["VmRSS"]
    yield
    assert resident()["VmHWM"] - before < 2 << 30


def golden_folders(config: pytest.Config) -> list[Path]:
    return config.getoption("--golden") or [GOLDEN]


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Call the command line in this process; results go to a temporary folder."""
    from hydra.core.global_hydra import GlobalHydra

    from kd_experiments.__main__ import main

    def call(*arguments: str, tiny: bool = True) -> Answer:
        given = [*(TINY if tiny else ()), f"paths.results={tmp_path}", *arguments]
        monkeypatch.setattr(sys, "argv", ["kd_experiments", *given])
        GlobalHydra.instance().clear()
        capsys.readouterr()
        try:
            code = main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


def shared_teachers() -> str:
    """For tests that are about students: each teacher is trained once for all of them, in whatever process they run."""
    return f"paths.teachers={os.environ[COMPOSED]}/teachers"


def records(results: Path) -> list[dict[str, Any]]:
    """Every record below a results folder."""
    return [json.loads(path.read_text()) for path in sorted((results / "runs").glob("*/record.json"))]


def composed(*overrides: str) -> dict[str, Any]:
    """The configuration the command line would compose, resolved; composed once for all processes of a test session."""
    from kd_experiments.cli import composing

    folder = Path(os.environ[COMPOSED])
    kept = folder / hashlib.sha256(json.dumps(overrides).encode()).hexdigest()
    if not kept.exists():
        text = json.dumps(composing.composed(overrides))
        with tempfile.NamedTemporaryFile("w", dir=folder, delete=False) as file:
            file.write(text)
        os.replace(file.name, kept)
    content: dict[str, Any] = json.loads(kept.read_text())
    return content


def with_method(method: str, *overrides: str) -> dict[str, Any]:
    """`composed(f"method={method}", *overrides)`, the method's file read without Hydra: `test_identity` compares."""
    from kd_experiments.cli import layers

    base = composed(*overrides)
    return base | layers.method_values(method, "none", base)


def read_offline_run(path: Path) -> dict[str, Any]:
    """Run header, history rows and summary of a `.wandb` file, as the SDK's own reader prints them."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    found: dict[str, Any] = {"history": [], "summary": {}, "config": {}}
    for line in lines:
        record = json.loads(line)
        content = record.get(record["type"], {})
        if record["type"] == "run":
            found |= {"group": content["run_group"], "tags": content["tags"], "name": content["display_name"]}
            found["config"] |= content["config"]["update"]
        elif record["type"] == "config":
            found["config"] |= content.get("update", {})
        elif record["type"] == "history":
            found["history"].append(content["item"])
        elif record["type"] == "summary":
            found["summary"] |= content.get("update", {})
    return found
