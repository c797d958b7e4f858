"""How far runs are, from their records; imports nothing heavy, for it may be asked about thousands of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout


@dataclass(frozen=True)
class RunStatus:
    """One run. `status` is `complete`, `running`, `stopped` (half done), `failed`, or `unreadable`."""

    folder: Path
    status: str
    method: str = ""
    data: str = ""
    pair: str = ""
    seed: str = ""
    top1: float | None = None  # of the test images at the last epoch, in per cent
    when: str = ""  # the record's last time, UTC
    seconds: float = 0.0
    reason: str = ""  # one line, of a failed run

    @property
    def log(self) -> Path:
        return self.folder / "run.log"


def standing(folder: Path) -> RunStatus | None:
    """What the record in `folder` says; None where there is none."""
    try:
        record = json.loads((folder / "record.json").read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return RunStatus(folder, "unreadable")
    try:
        return _as_standing(folder, record)
    except (KeyError, TypeError, AttributeError):
        return RunStatus(folder, "unreadable")


def every_run_status(results: Path) -> list[RunStatus]:
    """All runs below `results/runs`, the oldest first."""
    found = (standing(path.parent) for path in (results / "runs").glob("*/record.json"))
    return sorted((one for one in found if one is not None), key=lambda one: (one.when, one.folder.name))


def typical_seconds(runs: Iterable[RunStatus]) -> float | None:
    """The median of the complete runs; None where there is none."""
    seconds = [run.seconds for run in runs if run.status == "complete"]
    return statistics.median(seconds) if seconds else None


def is_running(folder: Path) -> bool:
    """Does some process, perhaps on another machine, hold the lock of this run?"""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", timeout=0):
            return False
    except Timeout:
        return True


def _as_standing(folder: Path, record: dict[str, Any]) -> RunStatus:
    config, status, timing = record["config"], record["status"], record["timing"]
    if status == "running" and not is_running(folder):
        status = "stopped"
    return RunStatus(
        folder=folder,
        status=status,
        method=config["method"]["name"],
        data=config["dataset"]["name"],
        pair=_pair(config),
        seed=str(record["seed"]),
        top1=record["metrics"].get("test_top1_last"),
        when=(record.get("finished") or record["started"])[:19].replace("T", " "),
        # A run that was resumed has trained for longer than its last call took.
        seconds=max(timing.get("this_call_seconds", 0.0), timing.get("train_seconds", 0.0)),
        reason=_last_line(record["error"]) if status == "failed" else "",
    )


def _pair(config: dict[str, Any]) -> str:
    student = config["student"]["network"]
    if config["method"]["distiller"] == "none":
        return str(student)
    if config["method"]["source"] == "peer":
        return f"{config['peer']['network']} <-> {student}"
    return f"{config['teacher']['network']} -> {student}"


def _last_line(error: str | None) -> str:
    """Of a traceback the last line says what happened."""
    lines: Sequence[str] = (error or "").strip().splitlines()
    return lines[-1] if lines else ""
