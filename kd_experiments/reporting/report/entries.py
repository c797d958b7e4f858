"""Every run folder, whatever became of the run: what the report lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_experiments.errors import UserError
from kd_experiments.reporting.records import collect
from kd_experiments.tracking.record import read_record

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Entry:
    """One folder below `results/runs`."""

    folder: Path
    record: Mapping[str, Any]  # empty where record.json cannot be read
    unreadable: str = ""  # why tables leave it out, though it is not running or failed

    @property
    def name(self) -> str:
        """The folder's name, which is the run's signature."""
        return self.folder.name

    @property
    def status(self) -> str:
        """`complete`, `failed`, `running` (or stopped without a word) or `unreadable`."""
        return "unreadable" if self.unreadable else str(self.record["status"])

    @property
    def error(self) -> str:
        """Why the run failed or cannot be read, in full."""
        return str(self.record.get("error") or self.unreadable).strip()

    @property
    def reason(self) -> str:
        """The last line of the error, which names it."""
        return (self.error.splitlines() or [""])[-1]

    def moment(self, key: str) -> str:
        """`started` or `finished`, to the minute; records tell the time in UTC."""
        return str(self.record.get(key) or "")[:16].replace("T", " ")

    def part(self, name: str) -> Mapping[str, Any]:
        """A mapping of the record, such as `config` or `metrics`; empty where there is none."""
        part = self.record.get(name)
        return part if isinstance(part, Mapping) else _NOTHING

    def configured(self, group: str, key: str) -> Any:
        """A value of the configuration, such as `dataset`, `name`; None where there is none."""
        part = self.part("config").get(group)
        return part.get(key) if isinstance(part, Mapping) else None


def read_entries(results: Path) -> list[Entry]:
    """Every run below `results/runs`, sorted by name."""
    return [_read(path) for path in sorted((results / "runs").glob("*/record.json"))]


def _read(path: Path) -> Entry:
    record: Mapping[str, Any] | UserError | None
    try:
        record = read_record(path)
    except UserError as error:  # of newer code
        record = error
    complaints = collect([(str(path), record)]).complaints
    found = record if isinstance(record, Mapping) else _NOTHING
    return Entry(path.parent, found, complaints[0].removeprefix(f"left out {path}: ") if complaints else "")
