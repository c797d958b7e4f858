"""What one frame of runs gives: sweeps, settings, their tables and figures, and the compact table for a terminal."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from kd_experiments.errors import UserError
from kd_experiments.escaping import plain
from kd_experiments.reporting import frame as frames
from kd_experiments.reporting import sweep_tables as swept
from kd_experiments.reporting import tables as compared
from kd_experiments.reporting.figures import Drawing, of_setting, of_sweep
from kd_experiments.reporting.frame import Run
from kd_experiments.reporting.metrics import TOP1
from kd_experiments.reporting.settings import DONE, Setting, covers, settings
from kd_experiments.reporting.table import Table
from kd_experiments.sweeping.definitions import names
from kd_experiments.sweeping.listing import columns
from kd_experiments.tracking.words import counted

FIGURES = 15  # in a report; further ones where they are asked for by name
FEWEST = 2  # conditions that make a setting worth a table of its own


@dataclass(frozen=True)
class Study:
    """`asked` is a sweep that is wanted however little of it is there; `reference` a method's label."""

    frame: pd.DataFrame
    asked: str = ""
    reference: str = ""

    @cached_property
    def digest(self) -> str:
        return frames.digest(self.csv)

    @cached_property
    def csv(self) -> str:
        return frames.to_csv(self.frame)

    @cached_property
    def runs(self) -> list[Run]:
        return frames.rows(self.frame)

    @cached_property
    def grids(self) -> list[swept.Grid]:
        return swept.grids(self.runs, [self.asked] if self.asked else [])

    @cached_property
    def settings(self) -> list[Setting]:
        return settings(self.runs)

    @cached_property
    def comparisons(self) -> list[compared.Comparison]:
        """Settings with something to compare; those that a sweep's table shows whole have no table of their own."""
        elsewhere = frozenset(run["signature"] for grid in self.grids for run in grid.runs)
        found = [compared.compare_setting(one, self.reference, elsewhere) for one in self.settings]
        return [one for one in found if len(one.rows) >= FEWEST or (one.rows and not one.hidden)]

    @cached_property
    def tables(self) -> list[Table]:
        return [*map(swept.sweep_table, self.grids), *map(compared.setting_table, self.comparisons)]

    @cached_property
    def costs(self) -> list[Table]:
        """Of the same tables, in the same order."""
        rows = [list(grid.groups.values()) for grid in self.grids]
        rows += [[row.group for row in one.rows] for one in self.comparisons]
        return [compared.cost_table(table, groups) for table, groups in zip(self.tables, rows, strict=True)]

    @cached_property
    def main(self) -> compared.Comparison | None:
        """The setting with most conditions to compare."""
        return max(self.comparisons, key=lambda one: (len(one.rows), len(one.setting.runs)), default=None)

    @cached_property
    def drawings(self) -> list[Drawing]:
        """The main setting's first, then the sweeps', then of the settings with most runs."""
        rest = sorted(self.comparisons, key=lambda one: (-len(one.setting.runs), one.setting.slug))
        made = of_setting(self.main) if self.main else []
        made += [figure for grid in self.grids for figure in of_sweep(grid)]
        for one in rest:
            made += of_setting(one) if one is not self.main and len(made) < FIGURES else []
        return made[:FIGURES]

    def sentences(self) -> list[str]:
        """Three: what is here, what came out, and what may be concluded."""
        if self.main is None:
            some = "python -m kd_experiments --multirun method=none,kd,lrds seed=0,1,2"
            return ["No run is complete yet.", f"Make some: {some}"]
        rows, base = self.main.rows, self.main.reference
        complete = sum(run["status"] in DONE for run in self.runs)
        largest = f"the largest compares {len(rows)} conditions on {self.main.setting.title}"
        here = f"{counted(complete, 'run')} in {counted(len(self.settings), 'setting')}; {largest}."
        known = [(row.group.spread(TOP1).mean, place) for place, row in enumerate(rows) if row.group.spread(TOP1).n]
        if not known:
            return [here, "Every condition has diverged runs.", "There is nothing to conclude."]
        best = rows[max(known)[1]]
        to = f", {' '.join(compared.gap_text(best))} to {base.title}" if base and best.difference else ""
        came = f"The highest mean is {best.group.title} with {compared.spread_text(best.group, TOP1)} %{to}."
        stars = [row.group.title for row in rows if row.star and row.difference and row.difference.mean > 0]
        tested = sum(row.difference is not None and not math.isnan(row.difference.p) for row in rows)
        better = f"above {base.title}: {', '.join(stars) or 'none'}" if base else "nothing, for there is no reference"
        over = f"After Holm's correction over {tested} comparisons, {better}"
        return [here, came, f"{over}; scatter {covers(self.main.setting.runs)}."]

    def last(self) -> list[str]:
        """The compact table of the last sweep or setting, in at most 80 columns."""
        done = [run for run in self.runs if run["status"] in DONE]
        if not done:
            return self.sentences()
        newest = max(done, key=lambda run: (run.get("finished", ""), run["signature"]))
        name = self.asked or newest.get("sweep")
        with contextlib.suppress(UserError):  # a file of the user's own that is wrong: told where it counts
            grids = [grid for grid in self.grids if grid.sweep.name == name]
            found = grids or (swept.grids_of(str(name), self.runs) if name in names() else [])
            for grid in sorted(found, key=lambda grid: newest not in grid.runs):
                named = [(swept.cell_words(grid, *place), one) for place, one in grid.compared.items()]
                if named:
                    there = f"{grid.jobs} of {len(grid.sweep.jobs)} runs of {grid.sweep.words}"
                    return compact(named, swept.reference_words(grid), there)
        mine = next(one for one in self.settings if newest in one.runs)
        known = [one for one in self.comparisons if one.setting is mine]
        comparison = known[0] if known else compared.compare_setting(mine, self.reference)
        base = "" if comparison.reference is None else comparison.reference.title
        return compact([(row.group.title, row) for row in comparison.rows], base, mine.title)


def compact(rows: Sequence[tuple[str, compared.Compared]], base: str, title: str, width: int = 80) -> list[str]:
    """Name, n, mean ± sd, difference with its interval, and a mark; every line of at most `width` characters."""
    gap = f"Δ {base} [95 %]" if len(base) <= 14 else "Δ [95 %]"
    rows = [(plain(name), row) for name, row in rows]
    lines = [("", "n", "top-1 (%)", gap if base else "", "")]
    for name, row in rows:
        told = "reference" if row.is_reference else " ".join(compared.gap_text(row)).replace("*", "")
        mark = "*" if row.star else "." * row.is_clear
        lines.append((name, str(row.group.n), compared.spread_text(row.group, TOP1), told, mark))
    room = width - 8 - sum(max(len(line[place]) for line in lines) for place in range(1, 5))
    wrapped = [textwrap.wrap(line[0], room, subsequent_indent="  ") or [""] for line in lines]  # a name is never cut
    split = [row for line, names in zip(lines, wrapped, strict=True)
             for row in [*((name, "", "", "", "") for name in names[:-1]), (names[-1], *line[1:])]]  # fmt: skip
    shown = columns(split, right=(1, 2, 3))
    keys = ["*: stays after Holm's correction", ".: the interval excludes 0"]
    used = [key for key in keys if any(line[4] == key[0] for line in lines)]
    title = plain(title)
    return [title if len(title) <= width else f"{title[: width - 1]}…", *shown, *(["; ".join(used)] if used else [])]


def compact_of(results: Path, signatures: Collection[str], sweep: str) -> list[str]:
    """The compact table of some of the runs below a results folder, for the end of a multirun."""
    frame = frames.runs(results)
    return Study(frame[frame["signature"].isin(signatures)].reset_index(drop=True), sweep).last()
