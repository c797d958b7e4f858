"""What became of each job of a sweep, and how far the sweep is: small files, since jobs run in other processes, or on
other machines, than the one that launched them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kd_experiments import files
from kd_experiments.errors import UserError
from kd_experiments.tracking.words import duration

_SWEEP = "sweep.json"


@dataclass(frozen=True)
class Outcome:
    """`run` is the folder of the run, None if its configuration was refused; `reason` is one line, why it failed."""

    status: Literal["started", "done", "skipped", "diverged", "failed"]
    run: str | None = None
    reason: str | None = None
    log: str | None = None

    def write(self, job_folder: Path) -> None:
        files.write_json(job_folder / "outcome.json", asdict(self))


def read_outcome(job_folder: Path) -> Outcome | None:
    """What a job has written so far, or None if it has not begun."""
    content = files.read_json(job_folder / "outcome.json")
    try:
        return None if content is None else Outcome(**content)
    except TypeError:
        return files.damaged(job_folder / "outcome.json")


def began(folder: Path, jobs: Sequence[str] | None) -> None:
    """Write down in the sweep's folder what its jobs are, None where that is not known in advance, and the time."""
    with contextlib.suppress(UserError, OSError):
        files.write_json(folder / _SWEEP, {"jobs": jobs, "started": time.time()})


def launched(folder: Path) -> tuple[list[str] | None, float | None]:
    """The jobs of a sweep, None where nobody knows them in advance, and when it began."""
    sweep = files.read_json(folder / _SWEEP) or {}
    return sweep.get("jobs"), sweep.get("started")


def progress_line(job_folder: Path, number: int, typed: Sequence[str], result: str) -> str:
    """`run 43 of 108, 1 failed, 12 min left: method=kd seed=1: 93.11 %`; what is not known is left out."""
    jobs, started = launched(job_folder.parent)
    outcomes = [read_outcome(path.parent) for path in job_folder.parent.glob("*/outcome.json")]
    ended = [one.status for one in outcomes if one is not None and one.status != "started"]
    failed, trained = ended.count("failed"), len(ended) - ended.count("skipped")
    parts = [f"run {len(ended)}" + (f" of {len(jobs)}" if jobs else "")]
    parts += [f"{failed} failed"] * bool(failed)
    if jobs and started is not None and trained and len(ended) < len(jobs):
        parts.append(f"{duration((time.time() - started) / trained * (len(jobs) - len(ended)))} left")
    what = jobs[number] if jobs and number < len(jobs) else " ".join(typed)
    return f"{', '.join(parts)}: {what}: {result}"
