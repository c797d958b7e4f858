"""What a notebook imports: `import kd_experiments as kd`, then `kd.run(...)`, `kd.runs()`, `kd.samples(...)`.

Whatever the command line refuses is refused here with the same sentence, as a `UserError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from kd_experiments import files, per_sample
from kd_experiments.cli.composing import composed
from kd_experiments.cli.hydra_errors import explain
from kd_experiments.cli.mistypings import refuse
from kd_experiments.cli.paths import readable
from kd_experiments.config import Config, check
from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.networks.deployed import Deployed
from kd_experiments.reporting.frame import runs as every_run
from kd_experiments.single_run import obtain_teacher
from kd_experiments.single_run import run as run_config
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.record import Record, RunFolder


def run(overrides: Sequence[str] = ()) -> Record:
    """Do one run, or return its record if it is done already: `kd.run(["method=lrds", "seed=1"])`.

    `overrides` are what would be typed after `python -m kd_experiments`.
    """
    typed = readable(overrides)
    refuse(typed)
    return run_config(configure(typed), typed=typed)


def configure(overrides: Sequence[str]) -> Config:
    """The checked configuration of what was typed; `UserError` for what is wrong with it."""
    try:
        return check(composed(overrides))
    except UserError:
        raise
    except Exception as error:
        sentence = explain(error, overrides)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def runs(results: str | Path | None = "results", csv: str | Path | None = None) -> pd.DataFrame:
    """Every run below a results folder, of a table of runs such as `results/runs.csv`, or of both, one row each.

    The frame that all tables and figures are made of; its columns are described in `reporting.frame`.
    """
    return every_run(results, csv)


def samples(signature: str, results: str | Path = "results") -> pd.DataFrame:
    """One row a training image of a complete run; the columns are those of `per_sample.write`.

    Made from the run's student and teacher when it is first asked for, or by the run with `samples=true`.
    """
    folder, record = _complete(signature, Path(results))
    path = folder.path / per_sample.NAME
    if not path.exists():
        config = check(record.config)
        per_sample.write(config, folder, lambda data: obtain_teacher(config, data, Display()))
    return pd.read_csv(path)


def load_student(signature: str, results: str | Path = "results") -> Deployed:
    """The student of a complete run, on the CPU, ready for images."""
    folder, _ = _complete(signature, Path(results))
    kept = files.load_own(folder.student)
    if kept is None:
        raise UserError(f"{folder.student}: there is no student that can be read; rerun=true makes it anew")
    return Deployed(kept)


def _complete(signature: str, results: Path) -> tuple[RunFolder, Record]:
    folder = RunFolder(results / "runs" / signature)
    record = folder.read()
    if record is None:
        known = [path.parent.name for path in results.glob("runs/*/record.json")]
        raise UserError(f"{signature}: no run of this signature in {results}{did_you_mean(signature, known)}")
    if record.status != "complete":
        raise UserError(f"{signature}: the run is {record.status}, not complete; its log is {folder.log}")
    return folder, record
