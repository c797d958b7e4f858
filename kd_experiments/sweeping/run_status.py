"""How far runs are, from their records; imports nothing heavy, for it may be asked about thousands of them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from kd_experiments.errors import UserError
from kd_experiments.tracking.record import OtherForm, Record, read_record


@dataclass(frozen=True)
class RunStatus:
    """One run. `status` is `complete`, `diverged`, `running`, `stopped` (half done), `failed`, `unreadable`, or
    `other form` of a record that another version wrote.
    """

    folder: Path
    status: str
    method: str = ""
    stage: str = ""
    teacher: str = ""
    replicate: str = ""
    top1: float | None = None  # of the test images at the last epoch, in per cent
    when: str = ""  # the record's last time, UTC
    seconds: float = 0.0
    reason: str = ""  # one line, of a run that failed or cannot be read

    @property
    def log(self) -> Path:
        return self.folder / "run.log"


def run_status(folder: Path) -> RunStatus | None:
    """What the record in `folder` holds; None where there is none."""
    try:
        record = read_record(folder / "record.json")
    except UserError as error:
        return RunStatus(folder, "other form" if isinstance(error, OtherForm) else "unreadable", reason=str(error))
    return None if record is None else status_of(folder, record)


def every_run_status(results: Path) -> list[RunStatus]:
    """All runs below `results/runs`, the oldest first."""
    found = (run_status(path.parent) for path in (results / "runs").glob("*/record.json"))
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
    except (OSError, NotImplementedError):  # a folder that may only be read, or has no locks: nobody works there
        return False


def status_of(folder: Path, record: Record) -> RunStatus:
    """How far the run of a record is."""
    status: str = record.status
    if status == "running" and not is_running(folder):
        status = "stopped"
    return RunStatus(
        folder=folder,
        status=status,
        method=record.label.method,
        stage=record.label.stage,
        teacher=record.label.teacher or "",
        replicate=record.label.replicate,
        top1=record.metrics.get("test_top1_last"),
        when=(record.finished or record.started)[:19].replace("T", " "),
        # A run that was resumed has trained for longer than its last call took.
        seconds=max(record.timing.get("this_call_seconds", 0.0), record.timing.get("train_seconds", 0.0)),
        reason=_last_line(record.error) if status in ("failed", "diverged") else "",
    )


def _last_line(error: str | None) -> str:
    """Of a traceback the last line says what happened."""
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else ""
