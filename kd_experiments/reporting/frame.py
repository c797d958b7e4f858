"""The one frame of runs that every table, figure and page is made of: a row a run, read from records or `runs.csv`."""

from __future__ import annotations

import csv as csv_format
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from kd_experiments import escaping
from kd_experiments.errors import UserError
from kd_experiments.schema import flattened
from kd_experiments.tracking.record import Record, every_record
from kd_experiments.tracking.rows import complaint

HEAD = ("signature", "teacher_signature", "method", "stage", "teacher", "replicate", "status", "sweep", "typed", "seed",
    "teacher_seed", "finished", "error",
)  # fmt: skip
# After the configuration come the facts of these parts of a record, in this order.
FACTS = ("data", "teacher", "selection", "revision", "student", "metrics", "timing", "machine")
Run = Mapping[str, Any]  # a row by column, without what is missing
PRIMARY = "metrics.test_top1_last"
LEFT_OUT = "left_out"  # in `frame.attrs`: a sentence for each record that could not be read


def runs(results: str | Path | None = None, csv: str | Path | None = None, digits: int = 17) -> pd.DataFrame:
    """Every run below `results` (its `runs/*/record.json`), of a file that `to_csv` made, or of both; a row each.

    Columns are typed: whole numbers are Int64, others float64, yes or no is boolean, words and lists are objects, and
    what a run does not have is missing. Of a run that is in both the folder's counts. A record or row that cannot be
    read is left out, and a sentence in `frame.attrs["left_out"]` says so; `UserError` for a file that is no such table.
    """
    rows = [] if csv is None else _read_csv(Path(csv))
    found, complaints = ([], []) if results is None else every_record(Path(results))
    return frame_of([*rows, *(row_of(one, digits) for one in found)], complaints)


def frame_of(rows: list[dict[str, Any]], complaints: Sequence[str] = ()) -> pd.DataFrame:
    """The frame of rows by dotted key: the last of each signature counts; in an order that depends on content alone.

    A row that is no run's is left out, with a complaint.
    """
    told, last = list(complaints), {}
    for row in rows:
        wrong = complaint(row)
        if wrong is None:
            last[row["signature"]] = row
        else:
            told.append(wrong)
    ordered = sorted(last.values(), key=lambda row: [str(row.get(key) or "") for key in _ORDER])
    names = dict.fromkeys(key for row in ordered for key in row)
    columns = [*HEAD, *sorted(set(names) - set(HEAD), key=_place)]
    turned = list(zip(*[list(map(row.get, columns)) for row in ordered], strict=True)) or [()] * len(columns)
    frame = pd.DataFrame({name: _column(list(values)) for name, values in zip(columns, turned, strict=True)})
    frame.attrs[LEFT_OUT] = told
    return frame


_ORDER = ("stage", "teacher", "method", "replicate", "signature")
_OWN = ("signature", "teacher_signature", "status", "sweep", "seed", "finished", "error")  # of a record itself
_NEEDED = ("signature", "stage", "method", "replicate", "status", "dataset.name")


def rows(frame: pd.DataFrame) -> list[Run]:
    """The frame as mappings: many small groups are made of it, for which pandas is slow."""
    names, columns = list(map(str, frame.columns)), [frame[name].tolist() for name in frame.columns]
    return [{name: value for name, value in zip(names, values, strict=True) if not _is_missing(value)}
            for values in zip(*columns, strict=True)]  # fmt: skip


def row_of(record: Record, digits: int = 17) -> dict[str, Any]:
    """One run's row by dotted key; 7 digits of measured figures are what float32 has, 17 all there are."""
    row = flatten(record.identity)
    for part in FACTS:
        facts = getattr(record, part)
        if facts is not None:
            told = flatten(facts if isinstance(facts, Mapping) else vars(facts), f"{part}.")
            row |= {key: float(f"{one:.{digits}g}") if type(one) is float else one for key, one in told.items()}
    row.pop("teacher.signature", None)  # as teacher_signature
    if row.get("machine.device_name") == row.get("machine.cpu"):
        row.pop("machine.device_name", None)
    taught = record.label.teacher is not None
    return row | {
        **{key: getattr(record.label, key) for key in ("method", "stage", "teacher", "replicate")},
        **{key: getattr(record, key) for key in _OWN},
        "typed": tuple(word for word in record.typed if not word.startswith("paths.")),  # somebody's folders
        "teacher_seed": record.teacher.seed if taught and record.teacher is not None else None,
    }


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys, without what is None; lists become tuples, so that they can be compared."""
    return {key: inner if type(inner) in (str, int, float, bool) else _hashable(inner)
            for key, inner in flattened(value, prefix).items() if inner is not None}  # fmt: skip


def to_csv(frame: pd.DataFrame) -> str:
    """The frame as text from which `runs(csv=...)` makes the same frame: the same runs give the same bytes.

    Words stand as they are unless they would be read as something else; then, and for lists, a cell is JSON. Numbers
    have all their digits; what is missing, or not a number, is empty.
    """
    columns = [list(map(_written, frame[name].tolist())) for name in frame.columns]
    return csv_text([list(map(str, frame.columns)), *zip(*columns, strict=True)])


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv_format.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def digest(runs: pd.DataFrame | str) -> str:
    """Twelve hexadecimal digits that name a frame, or its text: every table, figure and page made of it carries it."""
    return hashlib.sha256((runs if isinstance(runs, str) else to_csv(runs)).encode()).hexdigest()[:12]


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv_format.DictReader(file)
            rows = [{key: _read(text) for key, text in row.items()} for row in reader]
            lacking = [name for name in HEAD if name not in (reader.fieldnames or ())]
    except (OSError, UnicodeDecodeError, csv_format.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UserError(f"csv={path}: cannot be read: {reason}") from error
    bare = [key for row in rows for key in _NEEDED if row.get(key) is None]
    if lacking or bare or any(None in row for row in rows):
        wrong = f"lacks {(lacking or bare)[0]}" if lacking or bare else "a row is too long"
        raise UserError(f"csv={path}: not a table of runs: {wrong}")
    return rows


@lru_cache(100_000)
def _read(text: str | None) -> Any:
    if not text:
        return None
    if text[0] not in '[{"-0123456789tfnNI \t\r\n':  # no JSON begins so
        return text
    try:
        return _hashable(json.loads(text))
    except (ValueError, RecursionError):
        return text


def _is_missing(value: Any) -> bool:
    return value is None or value is pd.NA or value != value  # only what is not a number


def _written(value: Any) -> str:
    kind = type(value)
    if kind is str:
        return _word(value)
    if kind is int or (kind is float and math.isfinite(value)):
        return repr(value)
    return "" if _is_missing(value) else json.dumps(value, ensure_ascii=False)


@lru_cache(100_000)
def _word(text: str) -> str:
    is_plain = text == escaping.csv_cell(text) == _read(text) != ""  # no formula to a spreadsheet either
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _hashable(value: Any, levels: int = 8) -> Any:
    """Lists as tuples; objects, and lists in each other without end, which no run has, as text."""
    is_list = isinstance(value, list | tuple)
    if isinstance(value, Mapping) or (is_list and not levels):
        return json.dumps(value)
    return tuple(_hashable(one, levels - 1) for one in value) if is_list else value


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
    return (FACTS.index(part) if part in ("metrics", "timing", "machine") else -1), name
