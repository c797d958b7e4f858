"""What became of one job of a sweep: a small file in the job's own folder, since jobs run in other processes, or on
other machines, than the one that launched them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from kd_experiments import files


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
