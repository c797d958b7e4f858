"""One job of a sweep: skips what is done, and never raises for a failure, so that no launcher stops the others."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from kd_experiments import digests, identity, stopping
from kd_experiments.config import Config
from kd_experiments.errors import UserError
from kd_experiments.single_run import run
from kd_experiments.sweeping.outcome import Outcome, progress_line
from kd_experiments.tracking.display import Display
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
        record = None if config.rerun or config.samples else runs.done()
        if record is not None:
            changed = digests.changed(record.code)
            result = already_done(record, runs.record_file, changed) if changed else f"already done, {_result(record)}"
            outcome = Outcome("skipped", str(runs.path))
        else:
            record = run(config, Display(one_of_many=True), number, typed, sweep)
            outcome, result = Outcome("done", str(runs.path)), _result(record)
    except Diverged as error:
        result = f"diverged: {error}"
        outcome = Outcome("diverged", None if runs is None else str(runs.path), str(error))
    except UserError as error:
        outcome, result = _failed(str(error), runs), f"failed: {error}"
    except Exception as error:
        traceback.print_exc()
        result = f"{type(error).__name__}: {error}".splitlines()[0]
        outcome, result = _failed(result, runs), f"failed: {result}"
    except stopping.Stopped:
        _failed("stopped", runs).write(folder)
        raise
    with contextlib.suppress(UserError):  # on a full disk "started" stays, and counts as ended without a word
        outcome.write(folder)
    print(progress_line(folder, number, typed, result), flush=True)
    return None if record is None else record.metrics.get("val_top1_last")


def _result(record: Record) -> str:
    top1 = record.metrics.get("test_top1_last")
    return record.status if top1 is None else f"test {top1:.2f} %"


def _failed(reason: str, runs: RunFolder | None) -> Outcome:
    log = str(runs.log) if runs is not None and runs.log.exists() else None
    return Outcome("failed", None if runs is None else str(runs.path), reason, log)
