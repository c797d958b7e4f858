"""The mirror of a run in Weights & Biases; a failure there is a warning, never the end of a run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kd_experiments import files
from kd_experiments.tracking.record import Record
from kd_experiments.tracking.settings import TrackingConfig

RECORD = "record"  # the key of a W&B run's config that holds all of its record but the configuration itself
CONFIG_BESIDES = {
    RECORD,
    "signature",
    "sweep",
    "_wandb",
}  # keys of a W&B run's config that are not the run's configuration
_TAG, _GROUP = 64, 128  # characters that the service takes


class Tracker:
    """One W&B run for each job, also when many jobs share one process."""

    def __init__(
        self, wanted: TrackingConfig, record: Record, results: Path, warn: Callable[[str], None], again: bool
    ) -> None:
        self._warn = warn
        self._run: Any = None
        if wanted.mode == "disabled" or not files.is_writer():
            return
        folder = results.resolve() / "wandb"
        self._guard(lambda: self._start(wanted, record, folder, again))

    def _start(self, wanted: TrackingConfig, record: Record, folder: Path, again: bool) -> None:
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(name, str(folder / "files"))  # a run writes only below its results folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        if wanted.mode == "offline":
            for left in folder.glob(f"offline-run-*-{record.signature}"):  # this run was stopped; all is logged again
                shutil.rmtree(left, ignore_errors=True)
        import wandb

        label, config = record.label, record.config
        tags = [label.method, config["dataset"]["name"], config["student"]["network"], f"seed{record.seed}"]
        tags += ([record.sweep] if record.sweep else []) + list(wanted.tags)
        self._run = wandb.init(
            mode=wanted.mode,
            project=wanted.project,
            entity=wanted.entity,
            group=(wanted.group or f"{label.method} on {label.stage}")[:_GROUP],
            job_type=config["method"]["name"],
            name=f"{label.method} {label.replicate}",
            id=None if again else record.signature,
            resume=None if wanted.mode == "offline" or again else "allow",
            tags=[tag[:_TAG] for tag in dict.fromkeys(tags)],
            config=dict(config) | {"signature": record.signature, "sweep": record.sweep},
            dir=str(folder.parent),
            reinit="finish_previous",  # without it, jobs of one process would merge into one run
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )

    def log(self, row: Mapping[str, float]) -> None:
        """One row of the history; the step is the epoch."""
        if self._run is not None:
            self._guard(lambda: self._run.log(dict(row), step=int(row["epoch"])))

    def finish(self, record: Record) -> None:
        """Close the run; its figures become the summary, and the record goes along so that tables can be made of it."""
        if self._run is None:
            return
        kept = {RECORD: {key: value for key, value in asdict(record).items() if key != "config"}}
        self._guard(lambda: self._run.summary.update(dict(record.metrics)))
        self._guard(lambda: self._run.config.update(kept, allow_val_change=True))
        self._guard(lambda: self._run.finish(exit_code=0 if record.status == "complete" else 1))
        self._run = None

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever the tracker does, the run goes on
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._warn(f"warning: Weights & Biases is off for this run: {reason}")
            self._run = None
