"""The one frame of runs that every table, figure and page is made of: a row a run, read from records or `runs.csv`."""

from __future__ import annotations

import csv as csv_format
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from kd_experiments import escaping, files
from kd_experiments.errors import UserError
from kd_experiments.tracking.record import Record, every_record

HEAD = (
    "signature", "teacher_signature", "method", "stage", "teacher", "replicate", "status", "sweep", "typed", "seed",
    "teacher_seed", "finished", "error",
)  # fmt: skip
# After the configuration come the facts of these parts of a record, in this order.
FACTS = ("data", "teacher", "selection", "revision", "student", "metrics", "timing", "machine")
PRIMARY = "metrics.test_top1_last"
LEFT_OUT = "left_out"  # in `frame.attrs`: a sentence for each record that could not be read


def runs(results: str | Path | None = None, csv: str | Path | None = None) -> pd.DataFrame:
    """Every run below `results` (its `runs/*/record.json`), of a file that `write_csv` wrote, or of both; a row each.

    Columns are typed: whole numbers are Int64, others float64, yes or no is boolean, words and lists are objects, and
    what a run does not have is missing. Of a run that is in both the folder's counts. A record that cannot be read is
    left out, and a sentence in `frame.attrs["left_out"]` says so; `UserError` for a file that is not such a table.
    """
    rows = [] if csv is None else _read_csv(Path(csv))
    records, complaints = ([], []) if results is None else every_record(Path(results))
    return frame_of([*rows, *map(row_of, records)], complaints)


def frame_of(rows: list[dict[str, Any]], complaints: list[str] | None = None) -> pd.DataFrame:
    """The frame of rows by dotted key: the last of each signature counts; in an order that depends on content alone."""
    last = {row["signature"]: row for row in rows}
    ordered = sorted(last.values(), key=lambda row: [str(row.get(key) or "") for key in _ORDER])
    names = dict.fromkeys(key for row in ordered for key in row)
    columns = [*HEAD, *sorted(set(names) - set(HEAD), key=_place)]
    frame = pd.DataFrame({name: _column([row.get(name) for row in ordered]) for name in columns})
    frame.attrs[LEFT_OUT] = list(complaints or ())
    return frame


_ORDER = ("stage", "teacher", "method", "replicate", "signature")


def row_of(record: Record) -> dict[str, Any]:
    """One run's row by dotted key."""
    row = dict(flatten(record.identity))
    for part in FACTS:
        facts = getattr(record, part)
        found = flatten(facts if isinstance(facts, Mapping) else vars(facts), part) if facts is not None else ()
        row |= {key: value for key, value in found if value is not None}
    taught = record.label.teacher is not None
    return row | {
        **{key: getattr(record.label, key) for key in ("method", "stage", "teacher", "replicate")},
        **{key: getattr(record, key) for key in ("signature", "teacher_signature", "status", "sweep", "finished")},
        "error": record.error,
        "typed": record.typed,
        "seed": record.seed,
        "teacher_seed": record.teacher.seed if taught and record.teacher is not None else None,
    }


def flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys; lists become tuples, so that they can be compared."""
    for key, inner in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(inner, Mapping):
            yield from flatten(inner, name)
        else:
            yield name, _hashable(inner)


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as text from which `runs(csv=...)` makes the same frame: the same runs give the same bytes.

    Words stand as they are unless they would be read as something else; then, and for lists, a cell is JSON. Numbers
    have all their digits; what is missing, or not a number, is empty.
    """
    text = io.StringIO()
    writer = csv_format.writer(text, lineterminator="\n")
    writer.writerow(frame.columns)
    columns = [[_written(value) for value in frame[name].tolist()] for name in frame.columns]
    writer.writerows(zip(*columns, strict=True))
    return text.getvalue()


def write_csv(frame: pd.DataFrame, path: str | Path) -> None:
    files.write_text(Path(path), to_csv(frame))


def digest(frame: pd.DataFrame) -> str:
    """Twelve hexadecimal digits that name these runs: every table, figure and page made of them carries it."""
    return hashlib.sha256(to_csv(frame).encode()).hexdigest()[:12]


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv_format.DictReader(file)
            rows = [{key: _read(text) for key, text in row.items()} for row in reader]
            lacking = [name for name in HEAD if name not in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"csv={path}: cannot be read: {reason}") from error
    if lacking or any(None in row for row in rows):
        raise UserError(f"csv={path}: not a table of runs: {'lacks ' + lacking[0] if lacking else 'a row is too long'}")
    return rows


def _read(text: str | None) -> Any:
    if not text:
        return None
    try:
        return _hashable(json.loads(text))
    except ValueError:
        return text


def _written(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    is_formula = escaping.csv_cell(value) != value  # to a spreadsheet
    return json.dumps(value, ensure_ascii=False) if value == "" or is_formula or _read(value) != value else value


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _column(values: list[Any]) -> pd.Series[Any]:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int} and all(value is None or abs(value) < 2**63 for value in values):
        return pd.Series(values, dtype="Int64")
    if kinds and kinds <= {int, float}:
        return pd.Series([math.nan if value is None else float(value) for value in values], dtype="float64")
    return pd.Series(values, dtype="object")


def _place(name: str) -> tuple[int, str]:
    part = name.split(".", 1)[0]
    return (FACTS.index(part) + 1 if part in FACTS and part in _MEASURED else 0), name


_MEASURED = ("metrics", "timing", "machine")
