"""The record of a run on disk: the truth that tables are made of."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from kd_experiments import files
from kd_experiments.errors import UserError

SCHEMA = 1


class RunFolder:
    """`results/runs/<signature>/`: config.yaml, record.json, history.csv, run.log, checkpoint.pt, student.pt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_file = path / "record.json"
        self.checkpoint = path / "checkpoint.pt"
        self.history_file = path / "history.csv"
        self.log = path / "run.log"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """One process at a time works on a run (or several that torchrun started as one); whoever asks meanwhile waits
        and then finds it complete.
        """
        from kd_experiments.training import parallel  # imports torch, which readers of records do without

        if not parallel.is_main():
            parallel.wait()
            yield
            return
        with files.told_plainly(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / ".lock")
            lock.acquire()
        try:
            parallel.wait()
            yield
        finally:
            lock.release()

    def read(self) -> dict[str, Any] | None:
        """The record, or None where there is none that can be read."""
        return read_record(self.record_file)

    def write(self, record: Mapping[str, Any]) -> None:
        files.write_json(self.record_file, record)

    def write_config(self, given: Mapping[str, Any]) -> None:
        files.write_text(self.path / "config.yaml", yaml.safe_dump(dict(given), sort_keys=False))

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """One row an epoch; a figure that an epoch did not measure stays empty."""
        columns = list(dict.fromkeys(name for row in history for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        files.write_text(self.history_file, text.getvalue())

    def append_log(self, lines: Sequence[str]) -> None:
        from kd_experiments.training import parallel

        if not parallel.is_main():
            return
        with files.told_plainly(self.log), open(self.log, "a") as log:
            log.writelines(f"{line}\n" for line in lines)

    def forget(self) -> None:
        """Remove what a repeated run must not continue from."""
        for path in (self.checkpoint, self.record_file, self.history_file, self.path / "student.pt"):
            path.unlink(missing_ok=True)


def read_record(path: Path) -> dict[str, Any] | None:
    """A record.json of a schema this code knows, or None; `UserError` for one from newer code."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("schema"), int):
        return None
    if record["schema"] > SCHEMA:
        raise UserError(f"{path}: written by a newer version (schema {record['schema']}); update kd_experiments")
    return record
