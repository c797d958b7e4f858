"""Accuracy over two numeric keys: a shade and a printed number for each pair of values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kd_experiments.reporting.figures.grid import MEASURED, Cell, Grid
from kd_experiments.reporting.figures.style import GREYS, broken, headline, ink, panels

MOST_PANELS = 6


def draw(grid: Grid) -> Figure:
    """A panel for each combination of the other keys; all on the same scale, the best cell of each framed."""
    down, across = axes_keys(grid)
    others = grid.groups(key for key in grid.keys if key not in (down, across))
    measured = [found.mean for cell in grid.cells if (found := cell.interval)]
    shades = Normalize(min(measured), max(measured))
    width = 1.6 + 0.72 * len(grid.numbers(across))
    height = 1.2 + 0.5 * len(grid.numbers(down))
    figure, axes_of = panels(list(others)[:MOST_PANELS], width=max(width, 3.6), height=max(height, 3.4), extra=0.4)
    for name, axes in axes_of.items():
        draw_cells(axes, grid, others[name], down, across, shades)
        axes.set_title(broken(name, width))
    figure.colorbar(ScalarMappable(shades, GREYS), ax=list(axes_of.values()), label=MEASURED, shrink=0.9)
    cut = f"; the first {MOST_PANELS} of {len(others)} panels" if len(others) > MOST_PANELS else ""
    how = f"{grid.seeds} a cell; mean ± sd over seeds; frame: highest mean, hatched: not run{cut}"
    headline(figure, *grid.title.splitlines(), how)
    return figure


def axes_keys(grid: Grid) -> tuple[str, str]:
    """Rows and columns: the two numeric keys with most values, in the order in which they were given."""
    first, second = (key for key in grid.keys if key in grid.numeric[:2])
    return first, second


def draw_cells(axes: Axes, grid: Grid, cells: Sequence[Cell], down: str, across: str, shades: Normalize) -> None:
    """Cells of equal size whatever the values are; those without a run are hatched."""
    rows, columns = grid.numbers(down), grid.numbers(across)
    at = {(rows.index(float(cell.at[down])), columns.index(float(cell.at[across]))): cell for cell in cells}
    best = max((found.mean for cell in cells if (found := cell.interval)), default=None)
    means = np.full((len(rows), len(columns)), np.nan)
    for (row, column), cell in at.items():
        found = cell.interval
        if found is None:
            continue
        means[row, column] = found.mean
        spread = "" if found.n == 1 else f"\n±{found.std:.2f}"
        axes.text(
            column,
            row,
            f"{found.mean:.2f}{spread}",
            ha="center",
            va="center",
            fontsize=8,
            color=ink(shades, found.mean),
        )
        if found.mean == best:
            frame: Any = {"fill": False, "edgecolor": "black", "linewidth": 2.2}
            axes.add_patch(Rectangle((column - 0.46, row - 0.46), 0.92, 0.92, **frame))
    for row, column in zip(*np.nonzero(np.isnan(means)), strict=True):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, hatch="////", edgecolor="0.6"))
    axes.imshow(means, cmap=GREYS, norm=shades, aspect="auto", origin="lower")
    axes.set_xticks(range(len(columns)), [f"{value:g}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value:g}" for value in rows])
    axes.set(xlabel=grid.axis(across), ylabel=grid.axis(down).replace(" (", "\n("))
    axes.grid(False)
