"""The table of a sweep: the layout of its file filled with the runs that are there, each cell over its seeds."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from kd_experiments.errors import UserError
from kd_experiments.reporting import tables
from kd_experiments.reporting.metrics import TOP1
from kd_experiments.reporting.settings import BASELINE, Group, method_title, replicates, training_words
from kd_experiments.reporting.statistics import average_ranks, spread
from kd_experiments.reporting.table import Cell, Row, Table
from kd_experiments.sweeping.definitions import Outline, names, outline, read

ENOUGH = 0.5  # of a sweep's runs, for a table that nobody asked for by name
UNSAID = ("paths.", "tracking.", "hydra", "+sweeps=", "device=", "threads=", "rerun=", "capture=", "snapshots=",
          "imports=")  # fmt: skip

Coordinate = tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """The conditions of a sweep by the values of the row keys and the column keys."""

    sweep: Outline
    groups: Mapping[tuple[Coordinate, Coordinate], Group]
    jobs: int  # that are there
    remarks: Sequence[str]

    @cached_property
    def rows(self) -> list[Coordinate]:
        """In the order of the file; the student alone first."""
        known = {_at(job, self.sweep.table.rows): None for job in self.sweep.jobs}
        there = {row for row, _ in self.groups}
        return sorted((row for row in known if row in there), key=lambda row: BASELINE not in row)

    @cached_property
    def columns(self) -> list[Coordinate]:
        there = {column for _, column in self.groups}
        return [
            one for one in dict.fromkeys(_at(job, self.sweep.table.columns) for job in self.sweep.jobs) if one in there
        ]

    @cached_property
    def reference(self) -> Mapping[str, str]:
        """What a cell is compared with: the same cell but for these keys; KD where the file names nothing."""
        given = self.sweep.table.reference
        methods = {job.get("method") for job in self.sweep.jobs}
        return given or ({"method": "kd"} if "kd" in methods and len(methods) > 1 else {})

    @cached_property
    def compared(self) -> dict[tuple[Coordinate, Coordinate], tables.Compared]:
        places = list(self.groups)
        found = tables.against(
            [self.groups[place] for place in places], [self._reference_of(place) for place in places]
        )
        return dict(zip(places, found, strict=True))

    @property
    def runs(self) -> pd.DataFrame:
        return pd.concat([group.runs for group in self.groups.values()])

    @property
    def numeric(self) -> bool:
        """Whether the columns are the values of one number."""
        return (
            len(self.sweep.table.columns) == 1 and len(self.columns) > 1 and all(_is_number(c[0]) for c in self.columns)
        )

    def _reference_of(self, place: tuple[Coordinate, Coordinate]) -> Group | None:
        if not self.reference:
            return None
        layout = self.sweep.table
        row, column = (
            tuple(self.reference.get(key, value) for key, value in zip(keys, values, strict=True))
            for keys, values in zip((layout.rows, layout.columns), place, strict=True)
        )
        return self.groups.get((row, column))


def grid_of(name: str, frame: pd.DataFrame) -> Grid:
    """The runs of a sweep: those that it made, and those of the same signature that something else made."""
    sweep = outline(name)
    rows_of = _by_values(sweep, frame)
    if any(_key(job) not in rows_of for job in sweep.jobs) and _may_share(name, frame):
        rows_of = _by_signature(name, frame) | rows_of
    cells: dict[tuple[Coordinate, Coordinate], list[str]] = {}
    for job in sweep.jobs:
        place = (_at(job, sweep.table.rows), _at(job, sweep.table.columns))
        cells.setdefault(place, []).extend(rows_of.get(_key(job), ()))
    groups, remarks = {}, dict[str, None]()
    row_of = {signature: place for place, signature in enumerate(frame["signature"])}
    for place, signatures in cells.items():
        kept, told = replicates(frame.iloc[[row_of[signature] for signature in dict.fromkeys(signatures)]])
        remarks |= dict.fromkeys(told)
        if len(kept):
            groups[place] = Group(str(kept["method"].iloc[0]), kept)
    return Grid(sweep, groups, sum(_key(job) in rows_of for job in sweep.jobs), list(remarks))


def grids(frame: pd.DataFrame, asked: Sequence[str] = ()) -> list[Grid]:
    """Of the sweeps that made runs of this frame, those of which at least half is there; and those asked for."""
    known = {str(name) for name in frame["sweep"].dropna().unique()}
    found = []
    for name in sorted((known & set(names())) | set(asked)):
        try:
            found.append(grid_of(name, frame))
        except UserError as error:  # a file of the user's own
            if name in asked:
                raise
            print(f"left out: {error}", file=sys.stderr)
    return [
        grid
        for grid in found
        if grid.groups and (grid.sweep.name in asked or grid.jobs >= ENOUGH * len(grid.sweep.jobs))
    ]


def sweep_table(grid: Grid) -> Table:
    """Rows and columns as the sweep's file says; without column keys a column for each figure of merit."""
    if not grid.sweep.table.columns:
        return _as_metrics(grid)
    ranks = _ranks(grid)
    columns = [column_words(grid, column) for column in grid.columns]
    best = [
        tables.best_of([grid.groups[row, one] for row in grid.rows if (row, one) in grid.groups])
        for one in grid.columns
    ]
    rows = [
        Row(row_label(grid, row), [*(_cell(grid, row, one, top) for one, top in zip(grid.columns, best, strict=True)),
                                   *([Cell(ranks.get(row, "–"))] if ranks else [])])
        for row in grid.rows
    ]  # fmt: skip
    figures = [
        {**dict(zip((*grid.sweep.table.rows, *grid.sweep.table.columns), (*row, *column), strict=True)),
         **tables.figures_of(one.group, [TOP1]), **tables.gap_figures(one)}
        for (row, column), one in grid.compared.items()
    ]  # fmt: skip
    notes = [f"{TOP1.head}, columns: {', '.join(grid.sweep.table.columns)}.", *_all_notes(grid)]
    if ranks:
        notes.append("Average rank (1 is best) over the columns in which every ranked row was run without divergence.")
    return Table(
        name=f"sweep-{grid.sweep.name.replace('/', '-')}",
        title=grid.sweep.title.rstrip("."),
        data=str(grid.runs["dataset.name"].iloc[0]),
        columns=[*columns, *(["average rank"] if ranks else [])],
        rows=[*_teachers(grid, bool(ranks)), *rows],
        figures=pd.DataFrame(figures),
        caption=f"Test top-1 (%). {grid.sweep.title}",
        notes=notes,
        missing=_missing(grid),
        paper=tuple(range(len(columns))),
        head=", ".join(grid.sweep.table.rows),
    )


def row_label(grid: Grid, row: Coordinate) -> str:
    return ", ".join(_value(key, value, grid) for key, value in zip(grid.sweep.table.rows, row, strict=True))


def column_words(grid: Grid, column: Coordinate) -> str:
    return ", ".join(_value(key, value, grid) for key, value in zip(grid.sweep.table.columns, column, strict=True))


def grid_label(grid: Grid, place: tuple[Coordinate, Coordinate]) -> str:
    return ", ".join(filter(None, [row_label(grid, place[0]), column_words(grid, place[1])]))


def reference_words(grid: Grid) -> str:
    return ", ".join(_value(key, value, grid) for key, value in grid.reference.items())


def _value(key: str, value: str, grid: Grid) -> str:
    """A swept value as a paper would write it."""
    if key == "method":
        return method_title(value)
    if key == "plug_in":
        return "alone" if value == "none" else f"+ {method_title(value)}"
    if key == "experiment":
        return value.rsplit("/", 1)[-1].replace("_", " → " if value.count("_") == 1 else "_")
    return f"{key.rsplit('.', 1)[-1]} {value}" if _is_number(value) or value in ("true", "false", "null") else value


def _cell(grid: Grid, row: Coordinate, column: Coordinate, best: Group | None) -> Cell:
    one = grid.compared.get((row, column))
    if one is None:
        return Cell()
    return Cell(
        tables.spread_text(one.group, TOP1), *tables.gap_text(one), best=one.group is best, clear=tables.is_clear(one)
    )


def _as_metrics(grid: Grid) -> Table:
    compared = [
        tables.Compared(
            Group(row_label(grid, row), one.group.runs), one.difference, one.star, one.is_reference, one.unlike
        )
        for row in grid.rows
        for one in [grid.compared[row, ()]]
    ]
    base = next((one.group for one in compared if one.is_reference), None)
    name = f"sweep-{grid.sweep.name.replace('/', '-')}"
    return tables.metric_table(
        name, grid.sweep.title.rstrip("."), grid.runs, compared, base, grid.remarks, _missing(grid)
    )


def _all_notes(grid: Grid) -> list[str]:
    settings = sorted({f"{one['stage']}" for _, one in grid.runs.iterrows()})
    notes = tables.notes_of(grid.runs, list(grid.compared.values()), reference_words(grid))
    if len(settings) == 1:
        notes.append(f"Setting: {settings[0]}; {training_words(grid.runs)}.")
    return [*notes, *grid.remarks]


def _teachers(grid: Grid, ranked: bool) -> list[Row]:
    """The teacher's own accuracy, where a column has one network for a teacher."""
    found = []
    for column in grid.columns:
        runs = pd.concat([group.runs for (_, one), group in grid.groups.items() if one == column])
        taught = runs[runs["teacher"].notna()]
        if taught["teacher"].nunique() != 1 or "teacher.test_top1" not in taught:
            return []
        each = (
            taught.drop_duplicates(["teacher_signature", "teacher.test_top1"])["teacher.test_top1"]
            .dropna()
            .astype(float)
        )
        found.append(
            (f"teacher {taught['teacher.network'].iloc[0]}", Cell(tables.of_spread(spread(each.tolist()), TOP1)))
        )
    names = {name for name, _ in found}
    label = names.pop() if len(names) == 1 else "teacher"
    return [Row(label, [*(cell for _, cell in found), *([Cell()] if ranked else [])])] if found else []


def _ranks(grid: Grid) -> dict[Coordinate, str]:
    """Average rank of the rows over the columns, where they are what is compared."""
    if not grid.reference or not set(grid.reference) <= set(grid.sweep.table.rows) or len(grid.columns) < 2:
        return {}
    means = {place: group.spread(TOP1).mean for place, group in grid.groups.items() if group.spread(TOP1).n}
    rows = [row for row in grid.rows if all((row, column) in means for column in grid.columns)]
    if len(rows) < 2:
        return {}
    ranks = average_ranks([[means[row, column] for row in rows] for column in grid.columns])
    return {row: f"{rank:.2f}" for row, rank in zip(rows, ranks, strict=True)}


def _missing(grid: Grid) -> list[str]:
    lacking = len(grid.sweep.jobs) - grid.jobs
    return [f"{lacking} of {len(grid.sweep.jobs)} runs: {grid.sweep.command}"] if lacking else []


def _by_values(sweep: Outline, frame: pd.DataFrame) -> dict[frozenset[tuple[str, str]], list[str]]:
    """Signatures of the runs that the sweep made, by their values of its keys; not those whose setting was changed."""
    keys = set(sweep.jobs[0])
    found: dict[frozenset[tuple[str, str]], list[str]] = {}
    made = frame[frame["sweep"] == sweep.name]
    for signature, typed in zip(made["signature"], made["typed"], strict=True):
        words = [word for word in typed or () if not word.startswith(UNSAID)]
        values = dict(word.split("=", 1) for word in words if "=" in word)
        if set(values) == keys:
            found.setdefault(frozenset(values.items()), []).append(signature)
    return found


def _may_share(name: str, frame: pd.DataFrame) -> bool:
    """Whether something else made runs in the settings of this sweep, or it made none itself: composing it is slow."""
    own = frame["sweep"] == name
    return not own.any() or bool(frame["stage"][~own].isin(frame["stage"][own]).any())


def _by_signature(name: str, frame: pd.DataFrame) -> dict[frozenset[tuple[str, str]], list[str]]:
    there = set(frame["signature"])
    jobs = [job for job in read(name).jobs if job.signature in there]
    return {_key(job.overrides): [job.signature] for job in jobs}


def _key(job: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(job.items())


def _at(job: Mapping[str, str], keys: Sequence[str]) -> Coordinate:
    return tuple(job[key] for key in keys)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
