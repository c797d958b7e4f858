"""One job of a sweep: skips what is done, and never raises for a failure, so that no launcher stops the others."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from kd_experiments.config import Config
from kd_experiments.errors import UserError
from kd_experiments.run import run
from kd_experiments.sweeping.outcome import Outcome
from kd_experiments.tracking.record import RunFolder


def do(configure: Callable[[], Config], sweep: str | None, number: int, folder: Path) -> float | None:
    """Run job `number` and write to `folder` what became of it; returns its top-1 on val, which a search may go by.

    `configure` may raise `UserError`; `sweep` is the name of the file below `sweeps/`, if there is one.
    """
    runs: RunFolder | None = None
    record: Mapping[str, Any] | None = None
    try:
        config = _grouped(configure(), sweep)
        runs = RunFolder(config.results / "runs" / config.signature())
        Outcome("started", str(runs.path)).write(folder)
        record = None if config.rerun else _complete(runs)
        if record is not None:
            print(f"already done: {runs.record_file}", flush=True)
            outcome = Outcome("skipped", str(runs.path))
        else:
            record = run(config, number=number)
            outcome = Outcome("done", str(runs.path))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        outcome = _failed(str(error), runs)
    except Exception as error:
        traceback.print_exc()
        outcome = _failed(f"{type(error).__name__}: {error}".splitlines()[0], runs)
    except KeyboardInterrupt:
        _failed("interrupted", runs).write(folder)
        raise
    with contextlib.suppress(UserError):  # on a full disk "started" stays, and counts as ended without a word
        outcome.write(folder)
    return None if record is None else float(record["metrics"]["val_top1_last"])


def _grouped(config: Config, sweep: str | None) -> Config:
    """The runs of a sweep form a group in Weights & Biases, unless the user has named another."""
    if sweep is None or config.tracking.group is not None:
        return config
    return replace(config, tracking=replace(config.tracking, group=sweep))


def _complete(runs: RunFolder) -> Mapping[str, Any] | None:
    """The record of a run that is complete."""
    record = runs.read()
    return record if record is not None and record["status"] == "complete" else None


def _failed(reason: str, runs: RunFolder | None) -> Outcome:
    log = str(runs.log) if runs is not None and runs.log.exists() else None
    return Outcome("failed", None if runs is None else str(runs.path), reason, log)
