"""All sweeps: what each is, how many of its runs are done, and how long the others will take."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.sweeping.begun import begun
from kd_experiments.sweeping.definitions import Sweep, names, outline, read
from kd_experiments.sweeping.run_status import RunStatus, status_of, typical_seconds
from kd_experiments.tracking.record import read_record
from kd_experiments.tracking.words import duration


def listing(results: Path) -> list[str]:
    """Lines for a person, one a sweep; the time left is that of its finished runs, one after another."""
    done = _done(results)
    rows: list[tuple[str, ...]] = [("sweep", "runs", "done", "time left", "what it is")]
    every = names()
    promising = begun(every, (config for _, config in done.values())) if done else []
    wrong = []
    for name in every:
        try:
            if name in promising:
                rows.append(_row(read(name, results), done))
            else:  # then no signature is needed, and they take a while to make
                plan = outline(name)
                rows.append((name, str(len(plan.jobs)), "0", "unknown", plan.title))
        except UserError as error:
            wrong.append(f"left out: {error}")
    return [
        *columns(rows, right=(1, 2)),
        *wrong,
        "",
        "time left: the median time of the sweep's finished runs, for those that are missing, one after another",
        "run one:   python -m kd_experiments --multirun +sweeps=NAME",
        "look at one: python -m kd_experiments.sweeping status name=NAME",
    ]


Done = Mapping[str, tuple[RunStatus, Mapping[str, Any]]]  # signature -> a run that is done, and its configuration


def _done(results: Path) -> Done:
    """Every run that is done; each record is read once."""
    found = {}
    for path in (results / "runs").glob("*/record.json"):
        with contextlib.suppress(UserError):
            record = read_record(path)
            if record is not None and record.is_done:
                found[path.parent.name] = (status_of(path.parent, record), record.config)
    return found


def _row(sweep: Sweep, done: Done) -> tuple[str, ...]:
    own = [done[job.signature][0] for job in sweep.jobs if job.signature in done]
    missing, each = len(sweep.jobs) - len(own), typical_seconds(own)
    left = "none" if not missing else "unknown" if each is None else duration(missing * each)
    return sweep.name, str(len(sweep.jobs)), str(len(own)), left, sweep.title


def columns(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> list[str]:
    """Rows of text as lines with aligned columns; those in `right` are aligned to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place in right else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
