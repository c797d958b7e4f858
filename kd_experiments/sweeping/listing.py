"""All sweeps: what each is, how many of its runs are done, and how long the others will take."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.sweeping.begun import begun
from kd_experiments.sweeping.definitions import Sweep, names, outline, read
from kd_experiments.sweeping.overlays import overlays
from kd_experiments.sweeping.run_status import RunStatus, status_of, typical_seconds
from kd_experiments.tracking.record import read_record
from kd_experiments.tracking.words import duration


def listing(results: Path) -> list[str]:
    """Lines for a person, one a sweep and one for every setting that it was run in besides its file's.

    The time left is that of its finished runs, one after another.
    """
    done, typed = _done(results)
    rows: list[tuple[str, ...]] = [("sweep", "runs", "done", "time left", "what it is")]
    every = names()
    promising = begun(every, (run.config for run in done.values())) if done else []
    wrong = []
    for name in every:
        try:
            if name in promising:
                rows.append(_row(read(name, results), done))
            else:  # then no signature is needed, and they take a while to make
                plan = outline(name)
                rows.append((name, str(len(plan.jobs)), "0", "unknown", plan.title))
            found = overlays(name, typed[name]) if name in typed else []
            rows += [_row(read(name, results, over), done) for over in found if over]
        except UserError as error:
            wrong.append(f"left out: {error}")
    return [
        *columns(rows, right=(1, 2)),
        *wrong,
        "",
        "time left: the median time of the sweep's finished runs, for those that are missing, one after another",
        "run one:   python -m kd_experiments --multirun +sweeps=NAME [experiment=small/fashion_mnist seed=0,1,2,3,4]",
        "look at one: python -m kd_experiments.sweeping status name=NAME",
    ]


@dataclass(frozen=True)
class _Run:
    status: RunStatus
    config: Mapping[str, Any]


def _done(results: Path) -> tuple[dict[str, _Run], dict[str, list[Sequence[str]]]]:
    """Every run that is done, by its signature, and what was typed for the runs of each sweep."""
    found: dict[str, _Run] = {}
    typed: dict[str, list[Sequence[str]]] = {}
    for path in (results / "runs").glob("*/record.json"):
        with contextlib.suppress(UserError):
            record = read_record(path)
            if record is not None and record.is_done:
                found[path.parent.name] = _Run(status_of(path.parent, record), record.config)
                if record.sweep is not None:
                    typed.setdefault(record.sweep, []).append(record.typed)
    return found, typed


def _row(sweep: Sweep, done: Mapping[str, _Run]) -> tuple[str, ...]:
    own = [done[job.signature].status for job in sweep.jobs if job.signature in done]
    missing, each = len(sweep.jobs) - len(own), typical_seconds(own)
    left = "none" if not missing else "unknown" if each is None else duration(missing * each)
    return sweep.words, str(len(sweep.jobs)), str(len(own)), left, sweep.title


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
