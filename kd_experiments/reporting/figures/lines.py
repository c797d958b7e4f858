"""Accuracy over one numeric key: a line for each method, a panel for each setting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from kd_experiments.reporting.figures.grid import MEASURED, Cell, Grid, is_setting
from kd_experiments.reporting.figures.style import broken, headline, keep_in_sight, legend_below, line, panels

MOST_LINES = 12
MOST_PANELS = 9
MOST_TICKS = 9


def draw(grid: Grid) -> Figure:
    """Mean over the seeds with its 95 % t interval, at every value of the numeric key."""
    over = grid.numeric[0]
    others = [key for key in grid.keys if key != over]
    settings = grid.groups(key for key in others if is_setting(key))
    methods = grid.groups(key for key in others if not is_setting(key))
    shown = list(methods)[:MOST_LINES]
    figure, axes_of = panels(list(settings)[:MOST_PANELS], width=4.6, height=3.3, extra=0.3 + 0.12 * len(shown))
    cut = False
    for setting, axes in axes_of.items():
        here = [(name, [cell for cell in methods[name] if cell in settings[setting]]) for name in shown]
        for place, (name, cells) in enumerate(here):
            draw_line(axes, over, cells, place, len(here), name, grid.geometric(over))
        cut |= keep_in_sight(axes, [interval for _, cells in here for cell in cells if (interval := cell.interval)])
        value_axis(axes, grid, over)
        axes.set(
            title=broken(setting, 4),
            xlabel=grid.axis(over) + (", log scale" if grid.geometric(over) else ""),
            ylabel=MEASURED,
        )
    if len(shown) > 1 or shown[0]:
        legend_below(figure, max(axes_of.values(), key=lambda axes: len(axes.get_legend_handles_labels()[1])))
    notes = [
        "mean and 95 % t interval over seeds; intervals are cut at the axis"
        if cut
        else "mean and 95 % t interval over seeds"
    ]
    if len(methods) > MOST_LINES:
        notes.append(f"the first {MOST_LINES} of {len(methods)} lines")
    if len(settings) > MOST_PANELS:
        notes.append(f"the first {MOST_PANELS} of {len(settings)} panels")
    headline(figure, *grid.title.splitlines(), f"{grid.seeds} a point; {'; '.join(notes)}")
    return figure


def draw_line(axes: Axes, over: str, cells: Sequence[Cell], place: int, of: int, name: str, geometric: bool) -> None:
    """One line with caps and a pale band; points of several lines are moved aside so that no cap hides another."""
    found = sorted((float(cell.at[over]), interval) for cell in cells if (interval := cell.interval))
    if not found:
        return
    values = np.array([value for value, _ in found])
    mean = np.array([interval.mean for _, interval in found])
    high = np.array([interval.high for _, interval in found])
    look = line(place)
    half = np.nan_to_num(high - mean)  # a single seed has no interval
    axes.fill_between(values, mean - half, mean + half, color=look["color"], alpha=0.1, linewidth=0)
    counts = sorted({interval.n for _, interval in found})
    label = f"{name} (n = {'–'.join(map(str, dict.fromkeys([counts[0], counts[-1]])))})".lstrip()
    axes.errorbar(aside(values, place, of, geometric), mean, half, label=label, capsize=2.5, elinewidth=0.9, **look)


def aside(values: np.ndarray, place: int, of: int, geometric: bool) -> np.ndarray:
    """Positions of one of several lines: up to a twenty-fifth of the smallest step to either side."""
    if len(values) < 2 or of < 2:
        return values
    share = 0.08 * (place / (of - 1) - 0.5)
    if geometric:
        return np.asarray(values * np.exp(share * np.diff(np.log(values)).min()))
    return values + share * np.diff(values).min()


def value_axis(axes: Axes, grid: Grid, key: str) -> None:
    """Ticks at the values that were measured, as far as they have room."""
    values = grid.numbers(key)
    if grid.geometric(key):
        axes.set_xscale("log")
        axes.set_xlabel(f"{grid.axis(key)}, log scale")
    every = math.ceil(len(values) / MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator(values[::every]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
