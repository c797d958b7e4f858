"""Choices beside each other: the difference of each to its reference, or without one its accuracy, with intervals."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kd_experiments.reporting.figures.grid import MEASURED, Cell, Grid, is_setting
from kd_experiments.reporting.figures.style import headline, keep_in_sight, panels
from kd_experiments.reporting.statistics import Difference, paired_difference

MOST_ROWS = 40
MOST_PANELS = 15


def draw(grid: Grid) -> Figure:
    """A row for each combination of choices, a panel for each setting."""
    apart = [key for key in grid.keys if is_setting(key)]
    rows = grid.groups(key for key in grid.keys if key not in apart)
    if len(rows) < 2:  # the settings themselves are all there is to compare
        apart, rows = [], grid.groups(grid.keys)
    settings = grid.groups(apart)
    shown = list(rows)[:MOST_ROWS]
    differs = any(grid.reference_of(cell) for cell in grid.cells)
    names = list(settings)[:MOST_PANELS]
    figure, axes_of = panels(names, width=5.6 + 0.065 * max(map(len, shown)), height=0.9 + 0.27 * len(shown), extra=0.5)
    cut = False
    for setting, axes in axes_of.items():
        cells = {name: next((cell for cell in rows[name] if cell in settings[setting]), None) for name in shown}
        cut |= draw_rows(axes, grid, cells, differs)
        axes.set_title(setting)
    notes = ["mean and 95 % t interval over seeds"]
    if differs:
        notes = ["difference paired by seed with its 95 % t interval, not corrected for multiple comparisons"]
        notes.append("right: mean ± sd")
    notes += ["intervals are cut at the axis"] if cut else []
    notes += [f"the first {MOST_ROWS} of {len(rows)} rows"] if len(rows) > MOST_ROWS else []
    notes += [f"the first {MOST_PANELS} of {len(settings)} panels"] if len(settings) > MOST_PANELS else []
    headline(figure, *grid.title.splitlines(), "; ".join(notes))
    return figure


def draw_rows(axes: Axes, grid: Grid, cells: dict[str, Cell | None], differs: bool) -> bool:
    """Points with intervals from top to bottom, the accuracy beside each; whether intervals were cut off."""
    drawn: list[Difference] = []
    for place, cell in enumerate(cells.values()):
        text = beside(cell)
        if differs and is_reference(grid, cell):
            axes.plot(0, place, marker="D", color="black", markerfacecolor="white")
            text += ", reference"
        found = difference_of(grid, cell) if differs else None if cell is None else cell.interval
        if found is not None:
            half = 0.0 if math.isnan(found.low) else found.high - found.mean
            clear = not differs or (not math.isnan(found.low) and found.excludes_zero)
            look: Any = {"markerfacecolor": "black" if clear else "white", "capsize": 3, "elinewidth": 1.1}
            axes.errorbar(found.mean, place, xerr=half, fmt="s" if differs else "o", color="black", **look)
            drawn.append(found)
        axes.text(1.01, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    cut = keep_in_sight(axes, drawn, horizontal=True, include=0.0 if differs else None)
    if differs:
        axes.axvline(0, color="black", linewidth=1, linestyle="--")
        wanted = ", ".join(f"{key}={value}" for key, value in grid.reference.items())
        unit = MEASURED.replace("[%]", "[points of %]")
        axes.set_xlabel(f"difference to {wanted} in {unit}\nfilled: the interval excludes 0")
    else:
        axes.set_xlabel(MEASURED)
    axes.set_yticks(range(len(cells)), list(cells))
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    return cut


def is_reference(grid: Grid, cell: Cell | None) -> bool:
    """Whether others are compared with this cell."""
    return cell is not None and all(cell.at[key] == value for key, value in grid.reference.items())


def difference_of(grid: Grid, cell: Cell | None) -> Difference | None:
    """To the reference, paired by seed; None for the reference itself and for what was not measured."""
    reference = None if cell is None else grid.reference_of(cell)
    return None if cell is None or reference is None else paired_difference(cell.values, reference.values)


def beside(cell: Cell | None) -> str:
    """What stands at the right of a row: mean ± sd and n."""
    found = None if cell is None else cell.interval
    if found is None:
        return "not run"
    return f"{found.mean:.2f} %, n = 1" if found.n == 1 else f"{found.mean:.2f} ± {found.std:.2f} %, n = {found.n}"
