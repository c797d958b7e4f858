"""Who is told of a run while it goes on; a failure there is a warning, never the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from kd_experiments import files
from kd_experiments.tracking.record import Record
from kd_experiments.tracking.settings import TensorBoardConfig, TrackingConfig, WandbConfig
from kd_experiments.tracking.tensorboard_run import TensorBoardRun, refuse_if_missing
from kd_experiments.tracking.wandb_run import WandbRun


class Mirror(Protocol):
    """A run elsewhere."""

    def log(self, row: Mapping[str, float]) -> None:
        """One row of the history; the step is the epoch."""

    def finish(self, record: Record) -> None:
        """Close the run; the record's figures become its summary."""


class Tracker:
    """The mirror that `tracking` asks for, or nobody."""

    def __init__(
        self, wanted: TrackingConfig, record: Record, results: Path, warn: Callable[[str], None], again: bool
    ) -> None:
        self._warn = warn
        self._mirror: Mirror | None = None
        self._name = "TensorBoard" if isinstance(wanted, TensorBoardConfig) else "Weights & Biases"
        if wanted.mode != "disabled" and files.is_writer():
            self._guard(lambda: self._start(wanted, record, results, again))

    def _start(self, wanted: TrackingConfig, record: Record, results: Path, again: bool) -> None:
        if isinstance(wanted, WandbConfig):
            self._mirror = WandbRun(wanted, record, results, again)
        else:
            self._mirror = TensorBoardRun(record, results)

    def log(self, row: Mapping[str, float]) -> None:
        """One row of the history."""
        mirror = self._mirror
        if mirror is not None:
            self._guard(lambda: mirror.log(row))

    def finish(self, record: Record) -> None:
        """The run is over, whatever became of it."""
        mirror, self._mirror = self._mirror, None
        if mirror is not None:
            self._guard(lambda: mirror.finish(record))

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever the tracker does, the run goes on
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._warn(f"warning: {self._name} is off for this run: {reason}")
            self._mirror = None


def require(wanted: TrackingConfig) -> None:
    """`UserError` for a tracker that is not installed."""
    if isinstance(wanted, TensorBoardConfig) and wanted.mode != "disabled":
        refuse_if_missing()
