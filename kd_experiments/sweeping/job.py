"""One job of a sweep: skips what is done, and never raises for a failure, so that no launcher stops the others."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from kd_experiments import digests, identity
from kd_experiments.config import Config
from kd_experiments.errors import UserError
from kd_experiments.run import run
from kd_experiments.sweeping.outcome import Outcome
from kd_experiments.tracking.record import Record, RunFolder
from kd_experiments.tracking.summary import already_done
from kd_experiments.training.loop import Diverged


def do(
    configure: Callable[[], Config], typed: Sequence[str], sweep: str | None, number: int, folder: Path
) -> float | None:
    """Run job `number` and write to `folder` what became of it; returns its top-1 on val, which a search may go by.

    `configure` may raise `UserError`; `sweep` is the name of the file below `sweeps/`, if there is one.
    """
    runs: RunFolder | None = None
    record: Record | None = None
    try:
        config = configure()
        runs = RunFolder(config.results / "runs" / identity.signature(config))
        Outcome("started", str(runs.path)).write(folder)
        record = None if config.rerun or config.samples else _done(runs)
        if record is not None:
            print(already_done(record, runs.record_file, digests.changed(record.code)), flush=True)
            outcome = Outcome("skipped", str(runs.path))
        else:
            record = run(config, number=number, typed=typed, sweep=sweep)
            outcome = Outcome("done", str(runs.path))
    except Diverged as error:
        print(f"diverged: {error}", file=sys.stderr, flush=True)
        outcome = Outcome("diverged", None if runs is None else str(runs.path), str(error))
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
    return None if record is None else record.metrics.get("val_top1_last")


def _done(runs: RunFolder) -> Record | None:
    """The record of a run that nobody needs to repeat."""
    record = runs.read()
    return record if record is not None and record.is_done else None


def _failed(reason: str, runs: RunFolder | None) -> Outcome:
    log = str(runs.log) if runs is not None and runs.log.exists() else None
    return Outcome("failed", None if runs is None else str(runs.path), reason, log)
