"""All runs below a results folder, or the runs of one sweep: what is done, what failed and why, what is missing."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from kd_experiments.escaping import plain
from kd_experiments.sweeping.definitions import Job, Sweep, read
from kd_experiments.sweeping.listing import columns
from kd_experiments.sweeping.run_status import RunStatus, every_run_status, run_status, typical_seconds
from kd_experiments.tracking.words import duration


def status_of_all(results: Path) -> list[str]:
    """Lines for a person: one a run, with what tells the runs apart; what all share stands once below, then totals."""
    runs = every_run_status(results)
    if not runs:
        return [f"no run below {results / 'runs'} yet; make one with: python -m kd_experiments"]
    head = ("status", "method", "on", "taught by", "replicate", "test top-1", "when (UTC)", "run")
    rows = [_row(run) for run in runs]
    shared = [place for place in (2, 3, 4) if len(rows) > 1 and len({row[place] for row in rows}) == 1]
    kept = [place for place in range(len(head)) if place not in shared]
    table = columns([[row[place] for place in kept] for row in (head, *rows)], right=(kept.index(5),))
    lines = table[:1]
    for run, line in zip(runs, table[1:], strict=True):
        lines += [line, *_reason(run)]
    common = ", ".join(f"{head[place]} {rows[0][place]}" for place in shared if rows[0][place])
    return [*lines, "", f"{len(runs)} runs: {_counted(runs)}", *([f"all {common}"] if common else [])]


def status_of_one(name: str, results: Path, over: Sequence[str] = (), more: Sequence[str] = ()) -> list[str]:
    """Lines for a person: how far the sweep is, every run that is not complete, and the command for them."""
    sweep = read(name, results, over)
    runs = [(job, run_status(results / "runs" / job.signature)) for job in sweep.jobs]
    there = [run for _, run in runs if run is not None]
    none = len(runs) - len(there)
    counted = ", ".join(filter(None, [_counted(there), f"{none} not begun" if none else ""]))
    lines = [f"{sweep.words}: {sweep.title}", f"{len(runs)} runs: {counted}"]
    open_runs = [(job, run) for job, run in runs if run is None or run.status not in ("complete", "diverged")]
    for job, run in open_runs:
        lines += [_open_line(job, run), *([] if run is None else _reason(run))]
    if open_runs:
        lines += ["", _time_left(there, len(open_runs)), f"run them: {_command(sweep, results, more)}"]
    return lines


def _row(run: RunStatus) -> tuple[str, ...]:
    top1 = "" if run.top1 is None else f"{run.top1:.2f}"
    cells = (run.status, run.method, run.stage, run.teacher, run.replicate, top1, run.when, run.folder.name)
    return tuple(map(plain, cells))


def _reason(run: RunStatus) -> list[str]:
    if run.status == "failed":
        return [plain(f"    {run.reason} (log: {run.log})")]
    return [plain(f"    {run.reason}")] if run.reason else []


def _open_line(job: Job, run: RunStatus | None) -> str:
    values = " ".join(f"{key}={value}" for key, value in job.overrides.items())
    return f"  {'not begun' if run is None else run.status:<10} {values}"


def _counted(runs: Iterable[RunStatus]) -> str:
    return ", ".join(f"{count} {status}" for status, count in sorted(Counter(run.status for run in runs).items()))


def _time_left(runs: Sequence[RunStatus], missing: int) -> str:
    each = typical_seconds(runs)
    if each is None:
        return "time left: unknown, none is complete"
    return f"time left: about {duration(missing * each)}, one after another"


def _command(sweep: Sweep, results: Path, more: Sequence[str]) -> str:
    where = [] if results == Path("results") else [f"paths.results={results}"]
    return " ".join([sweep.command, *map(shlex.quote, [*where, *more])])
