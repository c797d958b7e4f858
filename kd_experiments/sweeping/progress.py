"""How far a sweep is, one line a run: told by its jobs, which may be other processes than the one that began it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from kd_experiments import files
from kd_experiments.sweeping.outcome import read_outcome
from kd_experiments.tracking.words import duration

_FILE = "sweep.json"


def began(folder: Path, jobs: Sequence[str] | None) -> None:
    """Write down in the sweep's folder what its jobs are, None where that is not known in advance, and the time."""
    with contextlib.suppress(OSError):
        files.write_json(folder / _FILE, {"jobs": jobs, "started": time.time()})


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


def launched(folder: Path) -> tuple[list[str] | None, float | None]:
    """The jobs of a sweep, None where nobody knows them in advance, and when it began."""
    try:
        content = json.loads((folder / _FILE).read_text())
        return content["jobs"], content["started"]
    except (OSError, ValueError, KeyError):
        return None, None
