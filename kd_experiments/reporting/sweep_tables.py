"""The table of a sweep: the layout of its file filled with the runs that are there, each cell over its seeds."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from kd_experiments.errors import UserError
from kd_experiments.files import file_name
from kd_experiments.networks.registry import names as network_names
from kd_experiments.reporting import tables
from kd_experiments.reporting.frame import Run
from kd_experiments.reporting.metrics import TOP1, VAL_TOP1, Metric
from kd_experiments.reporting.settings import BASELINE, DONE, Group, method_title, replicates, training_words
from kd_experiments.reporting.statistics import average_ranks, spread
from kd_experiments.reporting.table import PAPER, Cell, Row, Table
from kd_experiments.sweeping.definitions import Outline, names, outline, read
from kd_experiments.sweeping.overlays import beside, overlays, plain, said

METRICS = {"test_top1": TOP1, "val_top1": VAL_TOP1}  # what a sweep's table may show
ENOUGH = 0.5  # of a sweep's runs, for a table that nobody asked for by name

Coordinate = tuple[str, ...]
Made = dict[frozenset[tuple[str, str]], list[Run]]  # by the values of the swept keys


@dataclass(frozen=True)
class Grid:
    """The conditions of a sweep by the values of the row keys and the column keys."""

    sweep: Outline
    groups: Mapping[tuple[Coordinate, Coordinate], Group]
    jobs: int  # that are there
    remarks: Sequence[str]
    metric: Metric = TOP1

    @cached_property
    def rows(self) -> list[Coordinate]:
        """In the order of the file; the student alone first."""
        known = {_at(job, self.sweep.table.rows): None for job in self.sweep.jobs}
        there = {row for row, _ in self.groups}
        return sorted((row for row in known if row in there), key=lambda row: BASELINE not in row)

    @cached_property
    def columns(self) -> list[Coordinate]:
        there = {column for _, column in self.groups}
        known = dict.fromkeys(_at(job, self.sweep.table.columns) for job in self.sweep.jobs)
        return [one for one in known if one in there]

    @cached_property
    def reference(self) -> Mapping[str, str]:
        """What a cell is compared with: the same cell but for these keys; KD where the file names nothing."""
        given = self.sweep.table.reference
        methods = {job.get("method") for job in self.sweep.jobs}
        return given or ({"method": "kd"} if "kd" in methods and len(methods) > 1 else {})

    @cached_property
    def compared(self) -> dict[tuple[Coordinate, Coordinate], tables.Compared]:
        keys, bases = (self.sweep.table.rows, self.sweep.table.columns), []
        for place in self.groups:
            row, column = (tuple(map(self.reference.get, *one)) for one in zip(keys, place, strict=True))
            bases.append(self.groups.get((row, column)) if self.reference else None)
        return dict(zip(self.groups, tables.against(list(self.groups.values()), bases), strict=True))

    @property
    def runs(self) -> list[Run]:
        return [run for group in self.groups.values() for run in group.runs]

    @property
    def notes(self) -> list[str]:
        """The setting, where it is one, and what was left out or is pooled."""
        stages = sorted({str(run["stage"]) for run in self.runs})
        return [*[f"Setting: {stages[0]}; {training_words(self.runs)}."] * (len(stages) == 1), *self.remarks]

    @property
    def name(self) -> str:
        """For file names."""
        words = ["sweep", self.sweep.name, *(word.removeprefix("experiment=") for word in self._setting)]
        return file_name("-".join(re.sub(r"[^\w.-]+", "-", word).strip("-") for word in words))

    @property
    def title(self) -> str:
        """What the file says, and the setting that is laid over it."""
        said = (word.split("=", 1) for word in self._setting)
        setting = [f"{key} = {value.strip('${}')}" if "." in key or "${" in value else _value(key, value)
                   for key, value in said]  # fmt: skip
        return "; ".join([self.sweep.title.rstrip("."), *setting])

    @property
    def _setting(self) -> list[str]:
        """What is laid over the sweep and makes neither rows nor columns nor replicates."""
        shown = {*self.sweep.table.rows, *self.sweep.table.columns, "seed"}
        over = (word.replace("=${seed}", "=own") for word in self.sweep.over)  # a teacher for each seed, say
        return [word for word in over if word.partition("=")[0] not in shown]

    @property
    def numeric(self) -> bool:
        """Whether the columns are the values of one number."""
        return len(self.sweep.table.columns) == 1 < len(self.columns) and all(_is_number(at) for (at,) in self.columns)


def grids_of(name: str, runs: Sequence[Run], whole: bool = False, results: Path | None = None) -> list[Grid]:
    """One for every setting that it was run in, or its file's own; `whole` asks all; `results` keeps signatures."""
    own = [run for run in runs if run.get("sweep") == name]
    typed = (run.get("typed", ()) for run in own)
    return [_grid(outline(name, over), runs, own, whole, results) for over in overlays(name, typed) or [()]]


def _grid(sweep: Outline, runs: Sequence[Run], own: Sequence[Run], whole: bool, results: Path | None) -> Grid:
    """The runs of a sweep: those that it made, and those of the same signature that something else made."""
    made = _by_values(sweep, own)
    mine = {run["signature"]: run["stage"] for found in made.values() for run in found}
    likely = {run["stage"] for run in runs if run["signature"] not in mine} & set(mine.values())
    if (whole or not made or likely) and any(_key(job) not in made for job in sweep.jobs):
        made = _by_signature(sweep, runs, results) | made
    cells: dict[tuple[Coordinate, Coordinate], dict[str, Run]] = {}
    for job in sweep.jobs:
        place = (_at(job, sweep.table.rows), _at(job, sweep.table.columns))
        cells.setdefault(place, {}).update((run["signature"], run) for run in made.get(_key(job), ()))
    groups, remarks, metric = {}, dict[str, None](), METRICS[sweep.table.metric]
    for place, runs_of in cells.items():
        kept, told = replicates(list(runs_of.values()))
        remarks |= dict.fromkeys(told)
        if kept:
            groups[place] = Group(str(kept[0]["method"]), kept, metric)
    there = {key for key, found in made.items() if any(run["status"] in DONE for run in found)}
    return Grid(sweep, groups, sum(_key(job) in there for job in sweep.jobs), list(remarks), metric)


def grids(runs: Sequence[Run], asked: Sequence[str] = (), results: Path | None = None) -> list[Grid]:
    """Of the sweeps that made some of these runs, those of which at least half is there; and those asked for."""
    known = {str(run["sweep"]) for run in runs if "sweep" in run}
    found = []
    for name in sorted((known & set(names())) | set(asked)):
        try:
            found += grids_of(name, runs, name in asked, results)
        except UserError as error:  # a file of the user's own
            if name in asked:
                raise
            print(f"left out: {error}", file=sys.stderr)
    return [g for g in found if g.groups and (g.sweep.name in asked or g.jobs >= ENOUGH * len(g.sweep.jobs))]


def sweep_table(grid: Grid) -> Table:
    """Rows and columns as the sweep's file says; without column keys a column for each figure of merit."""
    if not grid.sweep.table.columns:
        return _as_metrics(grid)
    ranks = _ranks(grid)
    columns = [cell_words(grid, column=one) for one in grid.columns]
    best = [tables.best_of([group for (_, at), group in grid.groups.items() if at == one]) for one in grid.columns]
    rows = [
        Row(cell_words(grid, row), [*(_cell(grid, row, one, top) for one, top in zip(grid.columns, best, strict=True)),
                               *([Cell(ranks.get(row, "–"))] if ranks else [])])
        for row in grid.rows
    ]  # fmt: skip
    figures = [
        {**dict(zip((*grid.sweep.table.rows, *grid.sweep.table.columns), (*row, *column), strict=True)),
         **tables.figures_of(one.group, [grid.metric]), **tables.gap_figures(one)}
        for (row, column), one in grid.compared.items()
    ]  # fmt: skip
    notes = [f"{grid.metric.head}, columns: {', '.join(grid.sweep.table.columns)}."]
    notes += tables.notes_of(grid.runs, list(grid.compared.values()), reference_words(grid))
    notes += grid.notes
    if ranks:
        notes.append("Average rank (1 is best) over the columns in which every ranked row was run without divergence.")
    paper, head = tuple(range(len(columns)))[:PAPER], ", ".join(grid.sweep.table.rows)
    columns += ["average rank"] * bool(ranks)
    rows = [*_teachers(grid, bool(ranks)), *rows]
    data, images = str(grid.runs[0]["dataset.name"]), grid.sweep.table.metric.partition("_")[0]
    caption = f"{images.capitalize()} top-1 (%). {grid.title}."
    return Table(grid.name, grid.title, data, columns, rows, figures, caption, notes, _missing(grid), paper, head)


def cell_words(grid: Grid, row: Coordinate = (), column: Coordinate = ()) -> str:
    """A row, a column, or a cell in words."""
    keys, values = (*grid.sweep.table.rows[: len(row)], *grid.sweep.table.columns[: len(column)]), (*row, *column)
    return ", ".join(_value(key, value) for key, value in zip(keys, values, strict=True))


def reference_words(grid: Grid) -> str:
    return ", ".join(_value(key, value) for key, value in grid.reference.items())


def _value(key: str, value: str) -> str:
    """A swept value as a paper would write it."""
    if key == "method":
        return method_title(value)
    if key == "plug_in":
        return "alone" if value == "none" else f"+ {method_title({'la': 'LA', 'dtd': 'DTD'}.get(value, value))}"
    if key == "experiment":
        last, known = value.rsplit("/", 1)[-1], network_names()
        pairs = ((last[: gap.start()], last[gap.end() :]) for gap in re.finditer("_", last))
        return next((" → ".join(pair) for pair in pairs if set(pair) <= set(known)), last)
    last = key.rsplit(".", 1)[-1]
    if value == "none":  # which alone would be the student's
        return f"no {last.replace('_', ' ')}"
    return f"{last} {value}" if _is_number(value) or value in ("true", "false", "null") else value


def _cell(grid: Grid, row: Coordinate, column: Coordinate, best: Group | None) -> Cell:
    one = grid.compared.get((row, column))
    if one is None:
        return Cell()
    return Cell(tables.spread_text(one.group), *tables.gap_text(one), one.group is best, one.is_clear)


def _as_metrics(grid: Grid) -> Table:
    compared = [replace(grid.compared[row, ()], group=replace(grid.groups[row, ()], label=cell_words(grid, row)))
                for row in grid.rows]  # fmt: skip
    base = next((one.group for one in compared if one.is_reference), None)
    return tables.metric_table(grid.name, grid.title, grid.runs, compared, base, grid.notes, _missing(grid))


def _teachers(grid: Grid, ranked: bool) -> list[Row]:
    """The teacher's own accuracy, where a column has one network for a teacher."""
    found = []
    for column in grid.columns:
        taught = tables.teachers([run for (_, at), group in grid.groups.items() if at == column for run in group.runs])
        if len({run["teacher"] for run in taught}) != 1:
            return []
        top1 = tables.of_spread(spread([run[grid.metric.teacher] for run in taught]), grid.metric)
        found.append((f"teacher {taught[0].get('teacher.network', '')}", Cell(top1)))
    label = found[0][0] if len({name for name, _ in found}) == 1 else "teacher"
    return [Row(label, [*(cell for _, cell in found), *([Cell()] if ranked else [])])] if found else []


def _ranks(grid: Grid) -> dict[Coordinate, str]:
    """Average rank of the rows over the columns, where they are what is compared."""
    if not grid.reference or not set(grid.reference) <= set(grid.sweep.table.rows) or len(grid.columns) < 2:
        return {}
    means = {place: group.spread().mean for place, group in grid.groups.items() if group.spread().n}
    rows = [row for row in grid.rows if all((row, column) in means for column in grid.columns)]
    ranks = average_ranks([[means[row, column] for row in rows] for column in grid.columns]) if len(rows) > 1 else []
    return {row: f"{rank:.2f}" for row, rank in zip(rows, ranks, strict=bool(ranks))}


def _missing(grid: Grid) -> list[str]:
    lacking = len(grid.sweep.jobs) - grid.jobs
    return [f"{lacking} of {len(grid.sweep.jobs)} runs: {grid.sweep.command}"] if lacking else []


def _by_values(sweep: Outline, own: Sequence[Run]) -> Made:
    """The runs that the sweep made in this setting, by their values of its keys."""
    keys = list(sweep.jobs[0])
    same = beside(keys, sweep.over)
    found: Made = {}
    for run in own:
        values = said(typed := run.get("typed", ()))
        if beside(keys, typed) == same and set(keys) <= set(values):
            found.setdefault(frozenset((key, values[key]) for key in keys), []).append(run)
    return found


def _by_signature(sweep: Outline, runs: Sequence[Run], results: Path | None) -> Made:
    there = {run["signature"]: run for run in runs}
    jobs = read(sweep.name, results, sweep.over).jobs
    return {_key(job.overrides): [there[job.signature]] for job in jobs if job.signature in there}


def _key(job: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((key, plain(value)) for key, value in job.items())


def _at(job: Mapping[str, str], keys: Sequence[str]) -> Coordinate:
    return tuple(job[key] for key in keys)


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", text, re.IGNORECASE) is not None
