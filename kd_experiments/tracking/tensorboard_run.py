"""The mirror of a run in TensorBoard's files."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from kd_experiments.errors import UserError
from kd_experiments.tracking.record import Record


def refuse_if_missing() -> None:
    """`UserError` where TensorBoard is not installed, before anything is trained."""
    if importlib.util.find_spec("tensorboard") is None:
        raise UserError("tracking=tensorboard: not installed; type: pip install 'kd_experiments[tensorboard]'")


class TensorBoardRun:
    """One folder for each run: a scalar for every column of the history, the step is the epoch.

    A run that was stopped tells its whole history again, in a fresh folder, so that no epoch stands there twice.
    """

    def __init__(self, record: Record, results: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        folder = results / "tensorboard" / record.signature
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        label = record.label
        self._writer.add_text("run", f"{label.method} on {label.stage}, {label.replicate}")
        self._writer.add_text("config", f"```json\n{json.dumps(dict(record.config), indent=2)}\n```")

    def log(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def finish(self, record: Record) -> None:
        """The figures of the record, as `summary/NAME`, and the record itself."""
        for name, value in record.metrics.items():
            self._writer.add_scalar(f"summary/{name}", value)
        kept = {key: value for key, value in asdict(record).items() if key != "config"}
        self._writer.add_text("record", f"```json\n{json.dumps(kept, indent=2)}\n```")
        self._writer.close()
