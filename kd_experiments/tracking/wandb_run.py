"""The mirror of a run in Weights & Biases; a failure there is a warning, never the end of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kd_experiments.config import Config
from kd_experiments.training import parallel

RECORD = "record"  # the key of a W&B run's config that holds all of its record but the configuration itself
CONFIG_BESIDES = {RECORD, "signature", "_wandb"}  # keys of a W&B run's config that are not the run's configuration
_TAG, _GROUP = 64, 128  # characters that the service takes


class Tracker:
    """One W&B run for each job, also when many jobs share one process."""

    def __init__(self, config: Config, signature: str, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._run: Any = None
        if config.tracking.mode == "disabled" or not parallel.is_main():
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
        sweep = sweep_name()
        noise = config.given["label_noise"]["name"]
        tags = [config.method.name, config.dataset.name, config.student.network, f"seed{config.seed}"]
        tags += [teacher] * (config.source == "teacher") + [noise] * (noise != "none")
        tags += ([sweep] if sweep else []) + list(config.tracking.tags)
        self._run = wandb.init(
            mode=config.tracking.mode,
            project=config.tracking.project,
            entity=config.tracking.entity,
            group=(config.tracking.group or sweep or setting)[:_GROUP],
            job_type=config.method.name,
            name=f"{config.method.name}-seed{config.seed}-{signature[:6]}",
            id=None if config.rerun else signature,
            resume=None if config.tracking.mode == "offline" or config.rerun else "allow",
            tags=[tag[:_TAG] for tag in dict.fromkeys(tags)],
            config=dict(config.given) | {"signature": signature},
            dir=str(folder.parent),
            reinit="finish_previous",  # without it, jobs of one process would merge into one run
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True, disable_git=True),
        )

    def log(self, row: Mapping[str, float]) -> None:
        """One row of the history; the step is the epoch."""
        if self._run is not None:
            self._guard(lambda: self._run.log(dict(row), step=int(row["epoch"])))

    def finish(self, record: Mapping[str, Any]) -> None:
        """Close the run; its figures become the summary, and the record goes along so that tables can be made of it."""
        if self._run is None:
            return
        kept = {RECORD: {key: value for key, value in record.items() if key != "config"}}
        self._guard(lambda: self._run.summary.update(dict(record["metrics"])))
        self._guard(lambda: self._run.config.update(kept, allow_val_change=True))
        self._guard(lambda: self._run.finish(exit_code=0 if record["status"] == "complete" else 1))
        self._run = None

    def _guard(self, action: Callable[[], Any]) -> None:
        try:
            action()
        except Exception as error:  # whatever the tracker does, the run goes on
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            self._warn(f"warning: Weights & Biases is off for this run: {reason}")
            self._run = None


def sweep_name() -> str | None:
    """The file below `sweeps/` that this job was started with; None without one, or outside Hydra."""
    from hydra.core.hydra_config import HydraConfig

    if not HydraConfig.initialized():
        return None
    name = HydraConfig.get().runtime.choices.get("sweeps")
    return None if name is None else str(name)
