"""What a notebook imports: `import kd_experiments as kd`, then `kd.run(...)`, `kd.runs()`, `kd.samples(...)`.

Whatever the command line refuses is refused here with the same sentence, as a `UserError`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from kd_experiments import files, own_code, per_sample
from kd_experiments.cli.composing import composed
from kd_experiments.cli.hydra_errors import explain
from kd_experiments.cli.mistypings import refuse
from kd_experiments.cli.paths import readable
from kd_experiments.config import Config, check
from kd_experiments.data.dataset import Data
from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.networks.deployed import Deployed
from kd_experiments.reporting.frame import runs as every_run
from kd_experiments.single_run import memory_told
from kd_experiments.single_run import run as run_config
from kd_experiments.teachers.obtain import Teacher, Wanted
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.record import Record, RunFolder, read_teacher_record


def run(overrides: Sequence[str] = ()) -> Record:
    """Do one run, or return its record if it is done already: `kd.run(["method=lrds", "seed=1"])`.

    `overrides` are what would be typed after `python -m kd_experiments`.
    """
    if isinstance(overrides, str):
        raise UserError(f"{overrides}: one text; give a list of them: kd.run({overrides.split()})")
    own_code.refuse_changed()
    typed = readable(overrides)
    refuse(typed)
    with _explained(typed):
        return run_config(configure(typed), typed=typed)


def configure(overrides: Sequence[str]) -> Config:
    """The checked configuration of what was typed; `UserError` for what is wrong with it."""
    with _explained(overrides):
        return check(composed(overrides))


@contextmanager
def _explained(typed: Sequence[str]) -> Iterator[None]:
    """What the command line has a sentence for is a `UserError` here."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        sentence = explain(error, typed)
        if sentence is None:
            raise
        raise UserError(sentence) from error


def runs(results: str | Path | None = "results", csv: str | Path | None = None) -> pd.DataFrame:
    """Every run below a results folder, of a table of runs such as `results/runs.csv`, or of both, one row each.

    The frame that all tables and figures are made of; its columns are described in `reporting.frame`.
    """
    return every_run(results, csv)


def samples(signature: str, results: str | Path = "results", imports: Sequence[str] = ()) -> pd.DataFrame:
    """One row a training image of a complete run; the columns are those of `per_sample.write`.

    Made from the run's student and teacher when it is first asked for, or by the run with `samples=true`. `imports`
    names your own code, if the run used any and this process does not know it yet.
    """
    folder, record = _complete(signature, Path(results))
    path = folder.path / per_sample.NAME
    if files.read_table(path) is None:
        with _own_code(imports, record):
            config = check(_found_at(Path(results), record.config))
            with memory_told(config):
                per_sample.write(config, folder, lambda data: _teacher(config, record, data))
    return pd.read_csv(path)


def load_student(signature: str, results: str | Path = "results", imports: Sequence[str] = ()) -> Deployed:
    """The student of a complete run, on the CPU, ready for images; `imports` as in `samples`."""
    folder, record = _complete(signature, Path(results))
    kept = files.load_own(folder.student)
    if kept is None:
        raise UserError(f"{folder.student}: there is no student that can be read; rerun=true makes it anew")
    with _own_code(imports, record):
        return Deployed(kept)


@contextmanager
def _own_code(imports: Sequence[str], record: Record) -> Iterator[None]:
    """With the user's own code. A record may come from a stranger: the code it names is told, and not imported."""
    own_code.use(own_code.listed(imports))
    own_code.load()
    own_code.refuse_changed()
    try:
        yield
    except UserError as error:
        named = [word for word in record.typed if word.lstrip("+").startswith(f"{own_code.KEY}=")]
        if imports or not named:
            raise
        raise UserError(f"{error}; the run was typed with {' '.join(named)}: give imports=[...] here, too") from error


def _found_at(results: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a run whose results lie at `results` now: it may have been made in another folder."""
    before, teachers = values["paths"]["results"], Path(values["paths"]["teachers"])
    if teachers.is_relative_to(before):
        teachers = results / teachers.relative_to(before)
    return {**values, "paths": {"results": str(results), "teachers": str(teachers)}}


def _teacher(config: Config, record: Record, data: Data) -> Teacher:
    """The run's own teacher as it lies there: to train another one is no part of looking at a run."""
    folder = config.teachers / str(record.teacher_signature)
    known = read_teacher_record(folder / "record.json")
    if known is None or (config.teacher.checkpoint is None and not files.is_sound(folder / "teacher.pt")):
        raise UserError(f"{folder}: the run's teacher is gone; the same run with samples=true makes it anew")
    return Teacher(Wanted(config.teacher, known.identity, folder, config.data_folder, False), data, Display())


def _complete(signature: str, results: Path) -> tuple[RunFolder, Record]:
    folder = RunFolder(results / "runs" / signature)
    record = folder.read()
    if record is None:
        known = [path.parent.name for path in results.glob("runs/*/record.json")]
        raise UserError(f"{signature}: no run of this signature in {results}{did_you_mean(signature, known)}")
    if record.status != "complete":
        raise UserError(f"{signature}: the run is {record.status}, not complete; its log is {folder.log}")
    return folder, record
