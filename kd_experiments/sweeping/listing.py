"""All sweeps: what each is, how many of its runs are done, and how long the others will take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from kd_experiments.errors import UserError
from kd_experiments.sweeping.begun import begun
from kd_experiments.sweeping.definitions import Sweep, names, outline, read
from kd_experiments.sweeping.overlays import overlays
from kd_experiments.sweeping.run_status import status_of, typical_seconds
from kd_experiments.tracking.record import Record, every_record
from kd_experiments.tracking.words import duration


def listing(results: Path) -> list[str]:
    """Lines for a person, one a sweep and one for every setting that it was run in besides its file's.

    The time left is that of its finished runs, one after another.
    """
    done = {record.signature: record for record in every_record(results)[0] if record.is_done}
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
            typed = [record.typed for record in done.values() if record.sweep == name]
            found = overlays(name, typed) if typed else []
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


def _row(sweep: Sweep, done: Mapping[str, Record]) -> tuple[str, ...]:
    own = [status_of(Path(), done[job.signature]) for job in sweep.jobs if job.signature in done]
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
