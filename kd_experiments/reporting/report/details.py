"""What stands behind one run's link: the facts of its record, its history and its log, cut to a limit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_experiments.reporting.records import flatten
from kd_experiments.reporting.report.entries import Entry
from kd_experiments.reporting.report.limits import Limits
from kd_experiments.reporting.report.packing import rounded

_ELSEWHERE = {"config", "error", "schema", "signature", "status", "seed"}
_EVALUATED = "test_top1"  # a history's column that only evaluated epochs fill


def details(entry: Entry, limits: Limits) -> dict[str, Any]:
    """One run as JSON: `facts` by dotted key, `error` (empty without one), `history` or None, `log` or None."""
    return {
        "facts": dict(_facts(entry.record)),
        "error": entry.error,
        "history": history(entry.folder / "history.csv", limits.epochs),
        "log": log(entry.folder / "run.log", limits.log if entry.status == "complete" else limits.failed_log),
    }


def _facts(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for group, content in record.items():
        if group not in _ELSEWHERE:
            for key, value in flatten(content, group):
                yield key, rounded(value, 7) if isinstance(value, float) else value


def history(path: Path, limit: int) -> dict[str, Any] | None:
    """The history by column, and of how many epochs it is; None where there is none.

    At most `limit` epochs are kept: all, or the first and others evenly spaced up to the last, of those that were
    evaluated.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    if len(lines) < 2:
        return None
    columns = lines[0].split(",")
    rows = [cells for cells in (line.split(",") for line in lines[1:]) if len(cells) == len(columns)]
    kept = _spaced(_evaluated(rows, columns), limit) if len(rows) > limit else rows
    return {
        "of": len(rows),
        "columns": {name: [_figure(row[place]) for row in kept] for place, name in enumerate(columns)},
    }


def _evaluated(rows: Sequence[list[str]], columns: Sequence[str]) -> Sequence[list[str]]:
    if _EVALUATED not in columns:
        return rows
    place = columns.index(_EVALUATED)
    return [row for row in rows if row[place]] or rows


def _spaced(rows: Sequence[list[str]], limit: int) -> Sequence[list[str]]:
    if len(rows) <= limit:
        return rows
    return [rows[round(place * (len(rows) - 1) / (limit - 1))] for place in range(limit)]


def _figure(text: str) -> float | int | str | None:
    """A figure; None for an epoch that did not measure it."""
    try:
        return rounded(float(text)) if text else None
    except ValueError:  # a line that was cut off while it was written
        return None


def log(path: Path, limit: int) -> dict[str, Any] | None:
    """The log's text, and how many characters were left out of its middle; None where there is none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    if len(text) <= limit:
        return {"text": text, "left_out": 0}
    head = text[: limit // 4].rpartition("\n")[0]
    tail = text[-math.ceil(limit * 3 / 4) :].partition("\n")[2]
    left_out = len(text) - len(head) - len(tail)
    return {"text": f"{head}\n\n... {left_out:,} characters left out ...\n\n{tail}", "left_out": left_out}
