"""The mirror of a run in Weights & Biases; a failure there is a warning, never the end of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kd_experiments.config import Config


class Tracker:
    """One W&B run for each job, also when many jobs share one process."""

    def __init__(self, config: Config, signature: str, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._run: Any = None
        if config.tracking.mode == "disabled":
            return
        folder = config.results.resolve() / "wandb"
        self._guard(lambda: self._start(config, signature, folder))

    def _start(self, config: Config, signature: str, folder: Path) -> None:
        for name in ("WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
            os.environ.setdefault(name, str(folder / "files"))  # a run writes only below its results folder
        (folder / "files").mkdir(parents=True, exist_ok=True)
        import wandb

        teacher = config.teacher.network if config.source == "teacher" else config.source
        setting = f"{config.dataset.name}-{teacher}-{config.student.network}"
        tags = [config.method.name, config.dataset.name, f"seed{config.seed}", *config.tracking.tags]
        self._run = wandb.init(
            mode=config.tracking.mode,
            project=config.tracking.project,
            entity=config.tracking.entity,
            group=config.tracking.group or setting,
            job_type=config.method.name,
            name=f"{config.method.name}-seed{config.seed}-{signature[:6]}",
            id=None if config.rerun else signature,
            resume=None if config.tracking.mode == "offline" or config.rerun else "allow",
            tags=[tag[:64] for tag in dict.fromkeys(tags)],
            config=dict(config.given) | {"signature": signature},
            dir=str(folder.parent),
            reinit="finish_previous",  # without it, jobs of one process would merge into one run
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )

    def log(self, row: Mapping[str, float]) -> None:
        """One row of the history; the step is the epoch."""
        if self._run is not None:
            self._guard(lambda: self._run.log(dict(row), step=int(row["epoch"])))

    def finish(self, summary: Mapping[str, Any], failed: bool) -> None:
        if self._run is None:
            return
        self._guard(lambda: self._run.summary.update(dict(summary)))
        self._guard(lambda: self._run.finish(exit_code=1 if failed else 0))
        self._run = None

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever the tracker does, the run goes on
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._warn(f"warning: Weights & Biases is off for this run: {reason}")
            self._run = None
