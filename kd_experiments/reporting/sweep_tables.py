"""The table of a sweep: its runs in rows and columns of swept values, cells compared with a reference cell."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from kd_experiments.reporting.columns import BEST_TEST, BEST_VAL, COST, LAST, Figure, machine, present
from kd_experiments.reporting.commands import is_plain
from kd_experiments.reporting.comparison import COST_NOTE, by_seed, difference_notes, spread_note
from kd_experiments.reporting.published import Published, Sources, published
from kd_experiments.reporting.records import PRIMARY, Run, title
from kd_experiments.reporting.statistics import Difference, Spread, average_ranks, holm, paired_difference, spreads
from kd_experiments.reporting.table import Cell, Column, Table, table, words
from kd_experiments.sweeping.definitions import Sweep

SETTINGS_NAMED = 3  # settings that the notes list
NAMED = 6  # missing runs that are named one by one; of more, the command of the whole sweep says enough

Coordinate = tuple[str, ...]  # values of the swept keys that make the rows, or the columns
Place = tuple[Coordinate, Coordinate]


@dataclass(frozen=True)
class Grid:
    """The complete runs of a sweep by their place in its table."""

    sweep: Sweep
    runs: Mapping[str, Run]  # by signature, of the sweep's jobs alone

    @cached_property
    def rows(self) -> list[Coordinate]:
        return list(dict.fromkeys(row for row, _ in self.places))

    @cached_property
    def columns(self) -> list[Coordinate]:
        return list(dict.fromkeys(column for _, column in self.places))

    @cached_property
    def places(self) -> dict[Place, list[Run]]:
        """Every place the sweep defines, in its order, and what was run there, by seed."""
        found: dict[Place, list[Run]] = {}
        for job in self.sweep.jobs:
            there = found.setdefault(self._place(job.overrides), [])
            if job.signature in self.runs:
                there.append(self.runs[job.signature])
        return {place: sorted(runs, key=lambda run: run.seed) for place, runs in found.items()}

    @cached_property
    def figures(self) -> dict[Place, dict[str, Spread]]:
        return {place: spreads([run.figures() for run in runs]) for place, runs in self.places.items() if runs}

    @cached_property
    def differences(self) -> dict[Place, Difference | None]:
        """To the reference cell of each place; None for that cell itself, or where one of the two was not run."""
        return {
            place: None
            if self.reference(place) in (None, place)
            else paired_difference(by_seed(runs), by_seed(self.places[self.reference(place) or place]))
            for place, runs in self.places.items()
        }

    @cached_property
    def stars(self) -> set[Place]:
        """Places whose difference stays after Holm's correction over the table."""
        kept = holm(list(self.differences.values()))
        return {place for place, star in zip(self.differences, kept, strict=True) if star}

    def reference(self, place: Place) -> Place | None:
        """The place that this one is compared with; None if the sweep names none or does not have it."""
        layout = self.sweep.table
        if not layout.reference:
            return None
        values = dict(zip((*layout.rows, *layout.columns), (*place[0], *place[1]), strict=True))
        there = self._place(values | dict(layout.reference))
        return there if there in self.places else None

    def value(self, place: Place) -> float | None:
        """Mean primary figure of a place; None if nothing was run there."""
        return self.figures[place][PRIMARY].mean if place in self.figures else None

    def _place(self, overrides: Mapping[str, str]) -> Place:
        layout = self.sweep.table
        return tuple(overrides[key] for key in layout.rows), tuple(overrides[key] for key in layout.columns)


def sweep_tables(sweep: Sweep, runs: Iterable[Run]) -> list[Table]:
    """Accuracy and cost of a sweep; nothing if none of its runs is complete."""
    wanted = {job.signature for job in sweep.jobs}
    grid = Grid(sweep, {run.signature: run for run in runs if run.signature in wanted})
    return [_accuracy(grid), _cost(grid)] if grid.runs else []


def file_name(sweep: Sweep) -> str:
    return sweep.name.replace("/", "-")


def _accuracy(grid: Grid) -> Table:
    sources = Sources()
    make = _list if len(grid.columns) == 1 else _matrix
    columns, unshown = make(grid, sources)
    notes = [*_notes(grid), *sources.notes()]
    return table(file_name(grid.sweep), grid.sweep.title, "sweep", columns, notes, _missing(grid), unshown)


def _cost(grid: Grid) -> Table:
    layout = grid.sweep.table
    places = list(grid.figures)
    known = list(grid.figures.values())
    columns = [_words(layout.rows, [row for row, _ in places])]
    columns += [_words(layout.columns, [column for _, column in places])] * bool(layout.columns)
    columns.append(Column("n", "n", words(len(grid.places[place]) for place in places)))
    columns += [
        Column(figure.key, figure.title, [figure.cell(found.get(figure.key)) for found in known])
        for figure in present(COST, known)
    ]
    columns.append(Column("machine", "machine", words(machine(grid.places[place]) for place in places)))
    return table(f"{file_name(grid.sweep)}-cost", f"Cost, {grid.sweep.title}", "cost", columns, [COST_NOTE])


def _list(grid: Grid, sources: Sources) -> tuple[list[Column], dict[str, list[Cell]]]:
    """One row a cell; the difference and each statistic in columns of their own."""
    places = [(row, grid.columns[0]) for row in grid.rows]
    last, *others = (
        Column(figure.key, figure.title, [_figure(grid, place, figure) for place in places])
        for figure in (LAST, BEST_VAL, BEST_TEST)
    )
    counts = words(len(grid.places[place]) or "" for place in places)
    columns = [_words(grid.sweep.table.rows, grid.rows), Column("n", "n", counts), last]
    if grid.sweep.table.reference:
        title_ = f"difference to {_reference_words(grid)} [95 %]"
        columns.append(Column("difference", title_, [_gap(grid, place) for place in places]))
    quoted = [sources.quote(_published(grid.places[place])) for place in places]
    if any(quoted):
        columns.append(Column("published", "published, top-1 (%)", words(quoted)))
    return [*columns, *others], {}


def _matrix(grid: Grid, sources: Sources) -> tuple[list[Column], dict[str, list[Cell]]]:
    """Cells of figure, n and difference; published numbers in rows of their own; the other statistics only for CSV."""
    layout, ranks = grid.sweep.table, _ranks(grid)
    labels: list[str] = []
    lines: list[list[Cell]] = []
    sources_of: list[Coordinate | None] = []  # the row of the grid a line comes from; None for what is beside it
    for row in grid.rows:
        labels.append(_label(row))
        lines.append([_both(grid, (row, column)) for column in grid.columns])
        sources_of.append(row)
        quoted = [sources.quote(_published(grid.places.get((row, column), []))) for column in grid.columns]
        if any(quoted):
            labels.append(f"{_label(row)}, published")
            lines.append(words(quoted))
            sources_of.append(None)
    if ranks and set(layout.reference) <= set(layout.columns):
        labels.append("average rank")
        lines.append([_rank(ranks[column]) for column in grid.columns])
        sources_of.append(None)
    corner = f"{', '.join(layout.rows)} \\ {', '.join(layout.columns)}"
    columns = [Column(", ".join(layout.rows), corner, words(labels))]
    for at, column in enumerate(grid.columns):
        columns.append(Column(_label(column), _label(column), [line[at] for line in lines]))
    if ranks and set(layout.reference) <= set(layout.rows):
        rank_cells = [Cell() if row is None else _rank(ranks[row]) for row in sources_of]
        columns.append(Column("average_rank", "average rank", rank_cells))
    unshown = {
        f"{_label(column)} {figure.key}": [
            Cell() if row is None else _figure(grid, (row, column), figure) for row in sources_of
        ]
        for figure in (BEST_VAL, BEST_TEST)
        for column in grid.columns
    }
    return columns, unshown


def _both(grid: Grid, place: Place) -> Cell:
    """A figure with its n and its difference in one cell."""
    gap = _gap(grid, place)
    return replace(gap, value=_figure(grid, place, LAST).value, counted=True)


def _gap(grid: Grid, place: Place) -> Cell:
    is_reference = place in grid.figures and grid.reference(place) == place
    return Cell(difference=grid.differences.get(place), star=place in grid.stars, reference=is_reference)


def _figure(grid: Grid, place: Place, figure: Figure) -> Cell:
    return figure.cell(grid.figures.get(place, {}).get(figure.key))


def _rank(rank: Spread) -> Cell:
    return Cell(value=rank)


def _words(keys: Sequence[str], coordinates: Sequence[Coordinate]) -> Column:
    name = ", ".join(keys)
    return Column(name, name, words(map(_label, coordinates)))


def _label(coordinate: Coordinate) -> str:
    return ", ".join(coordinate)


def _reference_words(grid: Grid) -> str:
    return ", ".join(
        value if key == "method" else f"{key}={value}" for key, value in grid.sweep.table.reference.items()
    )


def _published(runs: Sequence[Run]) -> Sequence[Published]:
    """Of the method and setting that runs of one cell share."""
    if not runs:
        return ()
    record = runs[0].record
    teacher = record.get("teacher")
    found = published(record["config"], teacher["network"] if teacher else None, runs[0].method)
    return found if found and is_plain(record["config"]) else ()


def _notes(grid: Grid) -> list[str]:
    runs = list(grid.runs.values())
    notes = [f"Paper: {grid.sweep.paper}"] if grid.sweep.paper else []
    found = sorted({title(run.record, run.record.get("teacher")) for run in runs})
    if len(found) <= SETTINGS_NAMED:
        notes.append(f"Setting: {'; '.join(found)}.")
    seeds = sorted({run.seed for run in runs})
    if len(grid.columns) > 1:
        notes.append(
            f"Test top-1 at the last epoch (%), mean ± sample standard deviation (n) over seeds "
            f"({', '.join(map(str, seeds))}); the CSV file also has the epoch best on val and the best test epoch, "
            f"which is optimistic."
        )
    else:
        notes.append(spread_note(seeds))
    if grid.sweep.table.reference:
        notes += difference_notes(_reference_words(grid), list(grid.differences.values()))
    ranks = _ranks(grid)
    if ranks:
        blocks = next(iter(ranks.values())).n
        notes.append(f"Average rank (1 is best) over the {blocks} lines of the table in which all of them were run.")
    return notes


def _missing(grid: Grid) -> list[str]:
    sweep = grid.sweep
    jobs = [job for job in sweep.jobs if job.signature not in grid.runs]
    if not jobs:
        return []
    whole = f"{len(jobs)} of {len(sweep.jobs)} runs: {sweep.command}"
    if len(jobs) > NAMED:
        return [whole]
    return [whole, *(f"{_label(tuple(job.overrides.values()))}: {sweep.command_for(job.overrides)}" for job in jobs)]


def _ranks(grid: Grid) -> dict[Coordinate, Spread]:
    """Average rank of the values of the reference's axis over the lines of the other in which all of them were run."""
    layout = grid.sweep.table
    if not layout.reference:
        return {}
    if set(layout.reference) <= set(layout.rows):
        lines = [[grid.value((row, column)) for row in grid.rows] for column in grid.columns]
        competitors = grid.rows
    elif set(layout.reference) <= set(layout.columns):
        lines = [[grid.value((row, column)) for column in grid.columns] for row in grid.rows]
        competitors = grid.columns
    else:
        return {}
    complete = [[value for value in line if value is not None] for line in lines if None not in line]
    if len(complete) < 2 or len(competitors) < 2:
        return {}
    return {
        competitor: Spread(rank, math.nan, len(complete))
        for competitor, rank in zip(competitors, average_ranks(complete), strict=True)
    }
