"""What one frame of runs gives: sweeps, settings, their tables and figures, and the compact table for a terminal."""

from __future__ import annotations

import contextlib
import math
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from kd_experiments.errors import UserError
from kd_experiments.escaping import plain
from kd_experiments.reporting import frame as frames
from kd_experiments.reporting import sweep_tables as swept
from kd_experiments.reporting import tables as compared
from kd_experiments.reporting.figures import Drawing, of_setting, of_sweep
from kd_experiments.reporting.frame import Run
from kd_experiments.reporting.settings import DONE, Setting, covers, one_version, settings
from kd_experiments.reporting.table import Table
from kd_experiments.sweeping.definitions import names, outline
from kd_experiments.sweeping.listing import columns
from kd_experiments.tracking.words import counted

FIGURES = 15  # in a report; further ones where they are asked for by name
FEWEST = 2  # conditions that make a setting worth a table of its own
ROWS = 30  # on a terminal


class Told(NamedTuple):
    title: str  # of a setting or a sweep
    rows: Sequence[tuple[str, compared.Compared]]  # its conditions by name
    base: str  # the name of what they are compared with
    runs: Sequence[Run]


@dataclass(frozen=True)
class Study:
    """`asked`: a sweep, wanted however little is there; `reference`: a label; `results` keeps sweeps' signatures."""

    frame: pd.DataFrame
    asked: str = ""
    reference: str = ""
    results: Path | None = None

    @cached_property
    def digest(self) -> str:
        return frames.digest(self.csv)

    @cached_property
    def csv(self) -> str:
        return frames.to_csv(self.frame)

    @cached_property
    def runs(self) -> list[Run]:
        return one_version(frames.rows(self.frame))

    @cached_property
    def grids(self) -> list[swept.Grid]:
        return swept.grids(self.runs, [self.asked] if self.asked else [], self.results)

    @cached_property
    def settings(self) -> list[Setting]:
        return settings(self.runs)

    @cached_property
    def comparisons(self) -> list[compared.Comparison]:
        """Settings with something to compare that the tables of sweeps do not show, nor whose runs only chose."""
        elsewhere = frozenset(run["signature"] for grid in self.grids for run in grid.runs)
        choosing = [grid for grid in self.grids if grid.sweep.table.metric == "val_top1"]
        chose = {run["signature"] for grid in choosing for run in grid.runs}
        found = [compared.compare_setting(one, self.reference, elsewhere) for one in self.settings
                 if any(run["signature"] not in chose for run in one.runs)]  # fmt: skip
        return [one for one in found if (len(one.rows) >= FEWEST or (one.rows and not one.hidden))
                and (one.reference or not all(row.group.signatures <= elsewhere for row in one.rows))]  # fmt: skip

    @cached_property
    def sweeps(self) -> list[swept.Grid]:
        """Those with a table of their own: the one asked for, and whatever no setting's table shows just so."""
        shown = [{row.group.signatures for row in one.rows} for one in self.comparisons]
        return [grid for grid in self.grids if grid.sweep.name == self.asked or grid.sweep.table.columns
                or not any({one.signatures for one in grid.groups.values()} <= rows for rows in shown)]  # fmt: skip

    @cached_property
    def tables(self) -> list[Table]:
        return [*map(swept.sweep_table, self.sweeps), *map(compared.setting_table, self.comparisons)]

    @cached_property
    def costs(self) -> list[Table]:
        """Of the same tables, in the same order."""
        rows = [list(grid.groups.values()) for grid in self.sweeps]
        rows += [[row.group for row in one.rows] for one in self.comparisons]
        return [compared.cost_table(table, groups) for table, groups in zip(self.tables, rows, strict=True)]

    @cached_property
    def main(self) -> compared.Comparison | None:
        """The setting with most conditions to compare."""
        return max(self.comparisons, key=lambda one: (len(one.rows), len(one.setting.runs)), default=None)

    @cached_property
    def opening(self) -> Table | None:
        """What a reader sees first: the main setting's table or, where sweeps show everything, that of the first."""
        return compared.setting_table(self.main) if self.main else next(map(swept.sweep_table, self.grids), None)

    @cached_property
    def drawings(self) -> list[Drawing]:
        """The main setting's first, then the sweeps', the one asked for whole, then of the settings with most runs."""
        rest = sorted(self.comparisons, key=lambda one: (-len(one.setting.runs), one.setting.slug))
        made = of_setting(self.main) if self.main else []
        made += [figure for grid in self.sweeps if grid.sweep.name == self.asked for figure in of_sweep(grid)]
        most = max(FIGURES, len(made))
        made += [figure for grid in self.sweeps if grid.sweep.name != self.asked for figure in of_sweep(grid)]
        for one in rest:
            made += of_setting(one) if one is not self.main and len(made) < most else []
        return made[:most]

    def sentences(self) -> list[str]:
        """Three: what is here, what came out, and what may be concluded."""
        if self.opening is None:
            return ["No run is complete yet.", "Make some: python -m kd_experiments --multirun method=none,kd seed=0,1"]
        title, rows, base, runs = _of_setting(self.main) if self.main else _of_sweep(self.grids[0])
        complete = sum(run["status"] in DONE for run in self.runs)
        largest = f"the largest compares {len(rows)} conditions {'on' if self.main else 'in:'} {title}"
        here = f"{counted(complete, 'run')} in {counted(len(self.settings), 'setting')}; {largest}."
        means = [(row.group.spread(), place) for place, (_, row) in enumerate(rows)]
        known = [(one.mean, place) for one, place in means if one.n]
        if not known:
            return [here, "Every condition has diverged runs.", "There is nothing to conclude."]
        name, best = rows[max(known)[1]]
        to = f", {' '.join(filter(None, compared.gap_text(best)))} to {base}" if base and best.difference else ""
        came = f"The highest mean is {name} with {compared.spread_text(best.group)} %{to}."
        stars = [name for name, row in rows if row.star and row.difference and row.difference.mean > 0]
        tested = sum(row.difference is not None and not math.isnan(row.difference.p) for _, row in rows)
        better = f"above {base}: {', '.join(stars) or 'none'}" if base else "nothing, for there is no reference"
        over = f"After Holm's correction over {tested} comparisons, {better}"
        return [here, came, f"{over}; scatter {covers(runs)}."]

    def last(self) -> list[str]:
        """The compact table of the last sweep or setting, in at most 80 columns."""
        done = [run for run in self.runs if run["status"] in DONE]
        newest: Run = max(done, key=lambda run: (run.get("finished", ""), run["signature"]), default={})
        name = self.asked or str(newest.get("sweep"))
        with contextlib.suppress(UserError):  # a file of the user's own that is wrong: told where it counts
            found = swept.grids_of(name, self.runs, name == self.asked, self.results) if name in names() else []
            for grid in sorted(found, key=lambda grid: newest not in grid.runs):
                if (told := _of_sweep(grid)).rows:
                    there = f"{grid.jobs} of {len(grid.sweep.jobs)} runs of {grid.sweep.words}"
                    return compact(told._replace(title=there))
            if self.asked:
                return [f"no run of {self.asked} is there: {outline(self.asked).command}"]
        if not done:
            return self.sentences()
        mine = next(one for one in self.settings if newest in one.runs)
        known = [one for one in self.comparisons if one.setting is mine]
        return compact(_of_setting(known[0] if known else compared.compare_setting(mine, self.reference)))


def _of_setting(one: compared.Comparison) -> Told:
    base = "" if one.reference is None else one.reference.title
    return Told(one.setting.title, [(row.group.title, row) for row in one.rows], base, one.setting.runs)


def _of_sweep(grid: swept.Grid) -> Told:
    named = [(swept.cell_words(grid, *place), one) for place, one in grid.compared.items()]
    return Told(grid.title, named, swept.reference_words(grid), grid.runs)


def compact(told: Told, width: int = 80) -> list[str]:
    """Name, n, mean ± sd, difference with its interval, and a mark; every line of at most `width` characters."""
    base, title = told.base, plain(told.title)
    gap = f"Δ {base} [95 %]" if len(base) <= 14 else "Δ [95 %]"
    lines = [("", "n", told.rows[0][1].group.metric.head, gap if base else "", "")]
    for name, row in told.rows[:ROWS]:
        gap = "reference" if row.is_reference else " ".join(compared.gap_text(row)).replace("*", "")
        mark = "*" if row.star else "." * row.is_clear
        lines.append((plain(name), str(row.group.n), compared.spread_text(row.group), gap, mark))
    room = width - 8 - sum(max(len(line[place]) for line in lines) for place in range(1, 5))
    wrapped = [textwrap.wrap(line[0], room, subsequent_indent="  ") or [""] for line in lines]  # a name is never cut
    split = [row for line, names in zip(lines, wrapped, strict=True)
             for row in [*((name, "", "", "", "") for name in names[:-1]), (names[-1], *line[1:])]]  # fmt: skip
    keys = [("*", "*: stays after Holm's correction"), (".", ".: the interval excludes 0")]
    used = "; ".join(words for mark, words in keys if any(line[4] == mark for line in lines))
    further = f"{len(told.rows) - ROWS} further in the report" if len(told.rows) > ROWS else ""
    title = title if len(title) <= width else f"{title[: width - 1]}…"
    return [title, *columns(split, right=(1, 2, 3)), *filter(None, [used, further])]


def compact_of(results: Path, signatures: Collection[str], sweep: str) -> list[str]:
    """The compact table of some of the runs below a results folder, for the end of a multirun."""
    frame = frames.runs(results)
    return Study(frame[frame["signature"].isin(signatures)].reset_index(drop=True), sweep, results=results).last()
