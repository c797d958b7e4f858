"""All sweeps: what each is, how many of its runs are done, and how long the others will take."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kd_experiments.sweeping.definitions import Sweep, names, outline, read
from kd_experiments.sweeping.run_status import RunStatus, run_status, typical_seconds


def listing(results: Path) -> list[str]:
    """Lines for a person, one a sweep; the time left is that of its finished runs, one after another."""
    seen: dict[str, RunStatus | None] = {}  # sweeps share runs
    rows: list[tuple[str, ...]] = [("sweep", "runs", "done", "time left", "what it is")]
    begun = _begun(results)
    for name in names():
        if name in begun:
            rows.append(_row(read(name, results), results, seen))
        else:  # then no signature is needed, and they take a while to make
            title, size = outline(name)
            rows.append((name, str(size), "0", "unknown", title))
    return [
        *columns(rows, right=(1, 2)),
        "",
        "time left: the median time of the sweep's finished runs, for those that are missing, one after another",
        "run one:   python -m kd_experiments --multirun +sweeps=NAME",
        "look at one: python -m kd_experiments.sweeping status name=NAME",
    ]


def _begun(results: Path) -> set[str]:
    """Sweeps that may have a complete run."""
    if not any((results / "runs").glob("*/record.json")):
        return set()
    from kd_experiments.reporting.records import read_runs, settings  # pandas takes a second to import
    from kd_experiments.reporting.sweep_filter import promising

    return set(promising(names(), settings(read_runs(results).runs)))


def _row(sweep: Sweep, results: Path, seen: dict[str, RunStatus | None]) -> tuple[str, ...]:
    for job in sweep.jobs:
        if job.signature not in seen:
            seen[job.signature] = run_status(results / "runs" / job.signature)
    runs = [seen[job.signature] for job in sweep.jobs]
    complete = [run for run in runs if run is not None and run.status in ("complete", "diverged")]
    missing, each = len(runs) - len(complete), typical_seconds(complete)
    left = "none" if not missing else "unknown" if each is None else duration(missing * each)
    return sweep.name, str(len(runs)), str(len(complete)), left, sweep.title


def duration(seconds: float) -> str:
    """For a person: `40 s`, `12 min`, `3.5 h` or `2.1 days`."""
    for unit, size, places in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{places}f} {unit}"
    return f"{seconds:.0f} s"


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
