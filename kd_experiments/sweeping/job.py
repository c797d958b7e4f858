"""One job of a sweep: skips what is done, and never raises for a failure, so that no launcher stops the others."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kd_experiments.config import Config
from kd_experiments.errors import UserError
from kd_experiments.run import run
from kd_experiments.sweeping.outcome import Outcome
from kd_experiments.tracking.record import RunFolder


def do(configure: Callable[[], Config], sweep: str | None, number: int, folder: Path) -> None:
    """Run job `number` and write to `folder` what became of it.

    `configure` may raise `UserError`; `sweep` is the name of the file below `sweeps/`, if there is one.
    """
    runs: RunFolder | None = None
    try:
        config = _grouped(configure(), sweep)
        runs = RunFolder(config.results / "runs" / config.signature())
        Outcome("started", str(runs.path)).write(folder)
        if _complete(runs) and not config.rerun:
            print(f"already done: {runs.record_file}", flush=True)
            outcome = Outcome("skipped", str(runs.path))
        else:
            run(config, number=number)
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


def _grouped(config: Config, sweep: str | None) -> Config:
    """The runs of a sweep form a group in Weights & Biases, unless the user has named another."""
    if sweep is None or config.tracking.group is not None:
        return config
    return replace(config, tracking=replace(config.tracking, group=sweep))


def _complete(runs: RunFolder) -> bool:
    record = runs.read()
    return record is not None and record["status"] == "complete"


def _failed(reason: str, runs: RunFolder | None) -> Outcome:
    log = str(runs.log) if runs is not None and runs.log.exists() else None
    return Outcome("failed", None if runs is None else str(runs.path), reason, log)
