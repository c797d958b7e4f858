"""The mirror of a run in Weights & Biases."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kd_experiments.tracking.record import Record
from kd_experiments.tracking.settings import WandbConfig

RECORD = "record"  # the key of a W&B run's config that holds all of its record but the configuration itself
CONFIG_BESIDES = {RECORD, "signature", "sweep", "_wandb"}  # keys of its config that are not the run's configuration
_TAG, _GROUP = 64, 128  # characters that the service takes


class WandbRun:
    """One W&B run for each job, also when many jobs share one process."""

    def __init__(self, wanted: WandbConfig, record: Record, results: Path, again: bool) -> None:
        folder = results.resolve() / "wandb"
        self._student = results / "runs" / record.signature / "student.pt" if wanted.artifact else None
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(name, str(folder / "files"))  # a run writes only below its results folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        label, config, offline = record.label, record.config, wanted.mode == "offline"
        if offline:  # what an earlier call left of this run: its history is told again, under the same name
            for left in folder.glob(f"offline-run-*-{record.signature}"):
                shutil.rmtree(left, ignore_errors=True)
        import wandb

        tags = [label.method, config["dataset"]["name"], config["student"]["network"], f"seed{record.seed}"]
        tags += ([record.sweep] if record.sweep else []) + list(wanted.tags)
        self._run: Any = wandb.init(
            mode=wanted.mode,
            project=wanted.project,
            entity=wanted.entity,
            group=_short(wanted.group or condition(record), _GROUP),
            job_type=config["method"]["name"],
            name=_short(" ".join([label.method, *_swept(record), label.replicate]), _GROUP),
            id=None if again and not offline else record.signature,
            resume=None if offline or again else "allow",
            tags=[_short(tag, _TAG) for tag in dict.fromkeys(tags)],
            config=dict(config) | {"signature": record.signature, "sweep": record.sweep},
            dir=str(folder.parent),
            reinit="finish_previous",  # without it, jobs of one process would merge into one run
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )
        self._run.define_metric("epoch", hidden=True, summary="none")
        self._run.define_metric("*", step_metric="epoch", summary="none")  # the summary is the record's, told once

    def log(self, row: Mapping[str, float]) -> None:
        self._run.log(_in_percent(row), step=int(row["epoch"]))

    def finish(self, record: Record) -> None:
        """The record goes along, so that tables can be made of it."""
        kept = {RECORD: {key: value for key, value in asdict(record).items() if key != "config"}}
        with contextlib.ExitStack() as stack:  # a failure of one of these does not cost the others
            stack.callback(self._run.finish, exit_code=0 if record.status == "complete" else 1)
            if self._student is not None and record.status == "complete":
                stack.callback(self._send, record, self._student)
            stack.callback(self._run.config.update, kept, allow_val_change=True)
            stack.callback(self._run.summary.update, _in_percent(record.metrics))

    def _send(self, record: Record, student: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"student-{record.signature}", type="model", metadata=_in_percent(record.metrics))
        artifact.add_file(str(student))
        self._run.log_artifact(artifact)


def _in_percent(figures: Mapping[str, float]) -> dict[str, float]:
    """Shares in the unit of accuracies: a chart shows both."""
    return {name: value * 100 if "_share" in name else value for name, value in figures.items()}


def condition(record: Record) -> str:
    """What all seeds of one configuration share."""
    label = record.label
    return f"{label.method} on {label.stage}" + (f", taught by {label.teacher}" if label.teacher else "")


def _swept(record: Record) -> list[str]:
    """What was typed for a run that neither its method nor its seeds say, without where things lie."""
    said = ("method", "plug_in", "revision", "selection", "weighting", "temperature", "label_loss", "seed", "tracking")
    silent = ("paths", "hydra", "hydra/launcher", "+sweeps", "imports", "device", "threads", "capture", "rerun",
              "snapshots")  # fmt: skip
    keys = {word: word.split("=")[0].split(".")[0] for word in record.typed if not word.split("=")[0].endswith("seed")}
    where = ("dataset.root=", "dataset.download=")
    return [word for word, key in keys.items() if key not in (*said, *silent) and not word.startswith(where)]


def _short(text: str, most: int) -> str:
    """At most so many characters; what is cut is told apart by a digest."""
    return text if len(text) <= most else f"{text[: most - 9]}~{hashlib.sha256(text.encode()).hexdigest()[:8]}"
