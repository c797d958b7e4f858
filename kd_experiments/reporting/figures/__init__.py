"""Figures from the records of runs: one module a figure, one image a setting."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kd_experiments.errors import UserError
from kd_experiments.reporting.figures import btkd, influence, noise, revision, temperature, threshold
from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Cannot, Run, Setting, again, read_runs, settings
from kd_experiments.reporting.figures.style import house_style, save

KINDS = (revision.KIND, influence.KIND, temperature.KIND, threshold.KIND, btkd.KIND, noise.KIND)
DAMAGED = (OSError, RuntimeError, ValueError, KeyError, EOFError, zipfile.BadZipFile)  # what half a file may raise


@dataclass(frozen=True)
class Outcome:
    """What became of a figure: the files written, or why there are none and the command that fills it."""

    name: str
    files: tuple[Path, ...] = ()
    missing: str = ""
    command: str = ""

    def __str__(self) -> str:
        if self.files:
            return f"{self.name:<12} wrote {self.files[0]} and {', '.join(path.suffix for path in self.files[1:])}"
        return f"{self.name:<12} missing: {self.missing}\n{'':<12} fill it: {self.command}"


def write_figures(results: Path) -> tuple[int, list[Outcome], list[str]]:
    """Draw everything that the runs below `results` allow into `results`/figures; never trains.

    Returns the number of complete runs, what became of each figure, and a line for each record that cannot be read.
    """
    runs, complaints = read_runs(results)
    with house_style():
        outcomes = [outcome for kind in KINDS for outcome in _write(kind, runs, results)]
    return len(runs), outcomes, complaints


def _write(kind: Kind, runs: Sequence[Run], results: Path) -> list[Outcome]:
    used = [run for run in runs if kind.uses(run)]
    if not used:
        where = "" if results == Path("results") else f" paths.results={results}"
        command = f"python -m kd_experiments {kind.overrides}{where}"
        return [Outcome(kind.name, missing=f"no complete run with {kind.needs}", command=command)]
    return [_write_one(kind, setting, results) for setting in settings(used, kind.aspect)]


def _write_one(kind: Kind, setting: Setting, results: Path) -> Outcome:
    try:
        figure = kind.draw(setting)
    except Cannot as error:
        return Outcome(kind.name, missing=str(error), command=error.command)
    except (UserError, *DAMAGED) as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome(kind.name, missing=f"{setting.title}: {reason}", command=again(setting.runs[0]))
    return Outcome(kind.name, tuple(save(figure, results / "figures" / f"{kind.name}-{setting.slug}")))
