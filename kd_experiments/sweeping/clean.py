"""What below a results folder nobody needs any more: how large it is, and its removal where that is asked for."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.sweeping.listing import columns
from kd_experiments.sweeping.outcome import launched, read_outcome
from kd_experiments.sweeping.run_status import RunStatus, is_running, run_status

if sys.platform != "win32":  # which has no view tables that are filled by several processes
    import fcntl

_DAY = 86400.0


@dataclass(frozen=True)
class Leftover:
    """A folder that may go, and why."""

    folder: Path
    why: str

    @property
    def size(self) -> int:
        """Bytes on the disk: a view table is sparse until it is filled."""
        return sum(path.lstat().st_blocks * 512 for path in self.folder.rglob("*") if path.is_file())


def clean(results: Path, older: float | None, named: Sequence[str], remove: bool) -> list[str]:
    """Lines for a person; removes what they list if `remove`. `older` is in days, `named` are signatures of runs."""
    found = list(leftovers(results, older, named))
    if not found:
        return [f"nothing to remove below {results}"]
    sizes = [one.size for one in found]
    kept = {one.folder for one in found if remove and not _removed(one.folder)}
    rows = [(_bytes(size), str(one.folder), "kept, a process works there" if one.folder in kept else one.why)
            for one, size in zip(found, sizes, strict=True)]  # fmt: skip
    freed = sum(size for one, size in zip(found, sizes, strict=True) if one.folder not in kept)
    told = f"{len(found) - len(kept)} folders, {_bytes(freed)}"
    return [*columns(rows, right=(0,)), "", f"removed: {told}" if remove else f"{told}; yes=true removes them"]


def leftovers(results: Path, older: float | None, named: Sequence[str]) -> Iterator[Leftover]:
    """Failed, damaged, named and old runs, sweeps that began no run, and teachers that no other run has asked."""
    runs = sorted(path for path in (results / "runs").glob("*") if path.is_dir())
    for name in named:
        if name not in (path.name for path in runs):
            near = did_you_mean(name, (path.name for path in runs))
            raise UserError(f"runs={name}: no run of this signature in {results}{near}")
    gone = {path: why for path in runs if (why := _why(path, older, named)) is not None and not is_running(path)}
    yield from (Leftover(path, why) for path, why in gone.items())
    for path in sorted(path for path in (results / "multirun").glob("*") if path.is_dir()):
        outcomes = [read_outcome(one.parent) for one in path.glob("*/outcome.json")]
        jobs, _ = launched(path)
        is_over = jobs is not None and len(outcomes) >= len(jobs)  # others may still wait in a queue
        none_began = all(one is None or (one.status == "failed" and one.run is None) for one in outcomes)
        if none_began and (is_over or _is_older(path, older)):
            yield Leftover(path, "sweep: began no run")
    asked = set(_teachers_of(path for path in runs if path not in gone))
    for path in sorted((results / "teachers").glob("*")):
        if path.is_dir() and path.name not in asked and not _is_used(path):
            yield Leftover(path, "teacher: no run that is kept has asked it")


def _why(folder: Path, older: float | None, named: Sequence[str]) -> str | None:
    """The reason for which a run may go, or None."""
    status = run_status(folder)
    if status is None:
        return "run: nothing was written down"
    if folder.name in named:
        return f"run: named, {_said(status)}"
    if status.status in ("failed", "unreadable"):
        return f"run: {status.status}, {status.reason}"
    if _is_older(folder / "record.json", older):
        return f"run: older than {older:g} days, {_said(status)}"
    return None


def _is_older(path: Path, days: float | None) -> bool:
    return days is not None and time.time() - path.stat().st_mtime > days * _DAY


def _said(status: RunStatus) -> str:
    return f"{status.status}, {status.method} on {status.stage}"


def _teachers_of(runs: Iterable[Path]) -> Iterator[str]:
    """Those of records of other forms, too, which have the same key."""
    for path in runs:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            yield json.loads((path / "record.json").read_bytes()).get("teacher_signature")


def _is_used(teacher: Path) -> bool:
    """Does some process train this teacher, or fill its table?"""
    if is_running(teacher):
        return True
    for path in teacher.glob("views-*.lock"):
        with open(path, "ab") as file:
            try:
                if sys.platform != "win32":
                    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return True
    return False


def _removed(folder: Path) -> bool:
    """Remove a folder; False, and nothing is done, where a process works in it."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            shutil.rmtree(folder)
    except Timeout:
        return False
    except OSError as error:
        raise UserError(f"{error.filename or folder}: cannot be removed ({error.strerror})") from error
    return True


def _bytes(size: float) -> str:
    unit, name = next((pair for pair in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if size >= pair[0]), (1, "B"))
    return f"{size / unit:.{int(unit > 1)}f} {name}"
