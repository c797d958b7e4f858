"""Figures from the records of runs: one image for each sweep, and one for each kind and setting."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

from kd_experiments.errors import UserError
from kd_experiments.reporting import records
from kd_experiments.reporting.figures import (
    btkd,
    cost,
    forest,
    grids,
    heat_map,
    influence,
    inherited,
    lines,
    noise,
    reliability,
    revision,
    similarity,
    temperature,
    threshold,
)
from kd_experiments.reporting.figures.grid import Grid
from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Cannot, Run, again, read_runs, settings
from kd_experiments.reporting.figures.style import house_style, save

KINDS = (
    revision.KIND,
    influence.KIND,
    temperature.KIND,
    threshold.KIND,
    btkd.KIND,
    noise.KIND,
    cost.KIND,
    reliability.KIND,
    similarity.KIND,
    inherited.KIND,
)
MOST_SETTINGS = 12  # images of one kind but sweeps, those with most runs: ten thousand runs shall not take an hour
MOST_EVALUATED = 3  # where networks are evaluated
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
        if not self.command:
            return f"{self.name:<12} {self.missing}"
        return f"{self.name:<12} missing: {self.missing}\n{'':<12} fill it: {self.command}"


def write_figures(results: Path) -> tuple[int, list[Outcome], list[str]]:
    """Draw everything that the runs below `results` allow into `results`/figures; never trains.

    Returns the number of complete runs, what became of each figure, and a line for each record that cannot be read.
    """
    found = records.read_runs(results)
    runs, complaints = read_runs(found.runs, results)
    with house_style():
        outcomes = _write_grids(found.runs, runs, results)
        outcomes += [outcome for kind in KINDS for outcome in _write(kind, runs, results)]
    return len(found.runs), outcomes, [*found.complaints, *complaints]


def draw_grid(grid: Grid) -> Figure:
    """A heat map over two numeric keys, lines over one, otherwise choices beside each other."""
    kinds = (forest.draw, lines.draw, heat_map.draw)
    return kinds[min(len(grid.numeric), 2)](grid)


def _write_grids(found: Sequence[records.Run], runs: Sequence[Run], results: Path) -> list[Outcome]:
    of_sweeps, defined = grids.of_sweeps(found, results)
    others = grids.of_others(run for run in runs if run.record["signature"] not in defined)
    outcomes = [_write_grid(grid, results) for grid in of_sweeps]
    for name, family in groupby(sorted(others, key=_family), _family):
        alike = list(family)
        largest = sorted(alike, key=lambda grid: -sum(len(cell.values) for cell in grid.cells))[:MOST_SETTINGS]
        outcomes += [_write_grid(grid, results) for grid in alike if grid in largest]
        if len(alike) > MOST_SETTINGS:
            outcomes.append(Outcome(name, missing=f"drawn for the {MOST_SETTINGS} largest of {len(alike)} groups"))
    return outcomes


def _write_grid(grid: Grid, results: Path) -> Outcome:
    return _attempt(_family(grid), grid.name, partial(draw_grid, grid), grid.command, results)


def _family(grid: Grid) -> str:
    """The first word of its name: sweep, methods, variants or noise_rates."""
    return grid.name.split("-", 1)[0]


def _write(kind: Kind, runs: Sequence[Run], results: Path) -> list[Outcome]:
    used = [run for run in runs if kind.uses(run)]
    groups = [group for group in settings(used, kind.aspect) if group.teacher is not None or not kind.needs_teacher]
    if not groups:
        where = "" if results == Path("results") else f" paths.results={results}"
        command = f"python -m kd_experiments {kind.overrides}{where}"
        return [Outcome(kind.name, missing=f"no complete run with {kind.needs}", command=command)]
    most = MOST_EVALUATED if kind.evaluates else MOST_SETTINGS
    largest = sorted(groups, key=lambda setting: -len(setting.runs))[:most]
    outcomes = [
        _attempt(
            kind.name,
            f"{kind.name}-{setting.slug}",
            partial(kind.draw, setting),
            again(setting.runs[0]),
            results,
            setting.title,
        )
        for setting in groups
        if setting in largest
    ]
    if len(groups) > most:
        outcomes.append(Outcome(kind.name, missing=f"drawn for the {most} settings with most runs of {len(groups)}"))
    return outcomes


def _attempt(name: str, stem: str, draw: Callable[[], Figure], command: str, results: Path, where: str = "") -> Outcome:
    """Draw and write one figure; whatever it lacks is said, and the others are drawn."""
    try:
        return Outcome(name, tuple(save(draw(), results / "figures" / stem)))
    except Cannot as error:
        return Outcome(name, missing=str(error), command=error.command)
    except (UserError, *DAMAGED) as error:
        reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return Outcome(name, missing=f"{where or stem}: {reason}", command=command)
