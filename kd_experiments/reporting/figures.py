"""Figures of a setting or a sweep: every condition with its seeds, and its difference to the reference."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from kd_experiments.files import write_bytes, write_text
from kd_experiments.reporting.metrics import ACCURACY, TOP1, Metric, number
from kd_experiments.reporting.settings import Group, covers
from kd_experiments.reporting.statistics import Difference, interval
from kd_experiments.reporting.sweep_tables import Coordinate, Grid, column_words, reference_words, row_label
from kd_experiments.reporting.tables import Compared, Comparison, spread_text

COLUMN, PAGE = 3.25, 6.8  # inches: of a column, and of a page of two
SERIES, ROWS = 8, 30  # at most, in one plot
SEEDS = 5  # up to so many are shown one by one
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*")
LINES = ("-", "--", "-.", ":")
LOOK: dict[str, Any] = {
    "font.size": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "0.9",     "lines.linewidth": 1.1, "lines.markersize": 4, "legend.frameon": False,
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "kd_experiments", "axes.unicode_minus": True,
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn, its caption, and what it shows in words."""

    name: str
    caption: str
    words: str
    draw: Callable[[], Figure]


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this: matplotlib's defaults and ours, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)  # type: ignore[arg-type]  # the names are matplotlib's
        yield


def save(drawing: Drawing, folder: Path, digest: str) -> list[Path]:
    """`NAME.pdf`, `.svg`, `.png` and `.txt` with the caption; without dates: the same runs give the same bytes."""
    mark = f"runs {digest}"
    metadata: dict[str, dict[str, str | None]] = {
        "svg": {"Date": None, "Source": mark}, "pdf": {"CreationDate": None, "Keywords": mark},
        "png": {"Software": None, "Source": mark},
    }  # fmt: skip
    paths = []
    with house_style():
        figure = drawing.draw()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out: once is enough for three formats
        for ending, facts in metadata.items():
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=300, metadata=facts)
            paths.append(folder / f"{drawing.name}.{ending}")
            write_bytes(paths[-1], content.getvalue())
    paths.append(folder / f"{drawing.name}.txt")
    write_text(paths[-1], f"{drawing.caption}\n\nIn words: {drawing.words}\n\n{mark}\n")
    return paths


def of_setting(comparison: Comparison) -> list[Drawing]:
    """The forest of a setting, one column wide and one page wide, and its other figures of merit."""
    rows, setting = list(comparison.rows), comparison.setting
    if len(rows) < 2:
        return []
    base = "" if comparison.reference is None else comparison.reference.title
    named = [(row.group.title, row) for row in rows]
    made = _forests(setting.slug, setting.title, named, base)
    measured = {str(key) for key in setting.runs if setting.runs[key].notna().any()}
    kinds = {"quality": ("test_ece_last", "test_nll_last", "test_agreement_last", "test_inherited_errors_last"),
             "noise": ("clean_fit_last", "wrong_fit_last", "correction_last")}  # fmt: skip
    for kind, keys in kinds.items():
        metrics = [one for one in ACCURACY if one.key.removeprefix("metrics.") in keys and one.key in measured]
        groups = [(name, row.group) for name, row in named if not row.group.diverged]
        if metrics and len(groups) > 1:
            made.append(_panels(f"{kind}-{setting.slug}", setting.title, groups, metrics))
    return made


def of_sweep(grid: Grid) -> list[Drawing]:
    """Accuracy over the swept values, a line or a row of points for each other choice; a forest where rows are all."""
    name = f"sweep-{grid.sweep.name.replace('/', '-')}"
    title = grid.sweep.title.rstrip(".")
    if not grid.sweep.table.columns or len(grid.columns) < 2:
        named = [(row_label(grid, row), grid.compared[row, column]) for row, column in grid.groups]
        return _forests(name, title, named, reference_words(grid)) if len(named) > 1 else []
    shown = _shown(grid)
    left = len(grid.rows) - len(shown)
    caption = (
        f"{title}. {TOP1.head}; lines join means {covers(grid.runs)}"
        f"{', points are seeds' if _few(grid.groups.values()) else ', bars are 95 % intervals'}"
        f"{f'; {left} further rows are in the table' if left else ''}."
    )  # fmt: skip
    return [Drawing(f"{name}", caption, _grid_words(grid, shown), lambda: _draw_grid(grid, shown))]


def _forests(name: str, title: str, rows: Sequence[tuple[str, Compared]], base: str) -> list[Drawing]:
    shown = rows[:ROWS]
    more = f"; {len(rows) - ROWS} further rows are in the table" if len(rows) > ROWS else ""
    few = _few(row.group for _, row in shown)
    seeds = "points are seeds, bars means" if few else "bars are 95 % intervals of means"
    gap = f" Right: difference to {base}, paired, with its 95 % interval; filled where that excludes 0." if base else ""
    caption = f"{title}. {TOP1.head}; {seeds}{more}.{gap}"
    narrow = f"{title}. Difference to {base} in {TOP1.head}, paired, with its 95 % interval{more}." if base else caption
    words = _forest_words(shown, base)
    return [
        Drawing(f"forest-{name}", caption, words, lambda: _draw_forest(shown, base, PAGE)),
        Drawing(f"forest-{name}-column", narrow, words, lambda: _draw_forest(shown, base, COLUMN)),
    ]


def _draw_forest(rows: Sequence[tuple[str, Compared]], base: str, width: float) -> Figure:
    panels = 1 + (width == PAGE and bool(base))
    figure, axes = _rows([name for name, _ in rows], panels, width)
    if panels == 2 or not base:
        _accuracies(axes[0], [row.group for _, row in rows])
    if base:
        _differences(axes[-1], [row for _, row in rows], base)
    return figure


def _rows(names: Sequence[str], panels: int, width: float) -> tuple[Figure, list[Axes]]:
    """Panels beside each other with a row for each name, the first at the top."""
    labels = ["\n".join(textwrap.wrap(name, 26, break_long_words=True)) for name in names]
    lines = max(1 + label.count("\n") for label in labels)  # rows stand at equal distances: room for the longest
    height = 0.65 + len(labels) * (0.075 + 0.125 * lines)
    # w_pad in inches, so that the last number of one panel is clear of the first of the next
    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12))
    axes = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    axes[0].set_yticks(range(len(names)), labels)
    axes[0].set_ylim(len(names) - 0.5, -0.8)
    for one in axes:
        one.grid(axis="y", visible=False)
        one.tick_params(axis="y", length=0)
    return figure, axes


def _accuracies(axes: Axes, groups: Sequence[Group]) -> None:
    few = _few(groups)
    for place, group in enumerate(groups):
        values = group.values(TOP1)
        if group.diverged or not values:
            _said(axes, place, spread_text(group, TOP1))
        elif few:
            _seeds(axes, place, values)
        else:
            _interval(axes, place, interval(values), "o", True)
    axes.set_xlabel(TOP1.head)
    _limit(axes, 0.0, 100.0)


def _differences(axes: Axes, rows: Sequence[Compared], base: str) -> None:
    known = [row.difference for row in rows if row.difference is not None]
    low, high = _sight(known)
    axes.set_xlim(low, high)
    axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
    for place, row in enumerate(rows):
        if row.difference is not None:
            _interval(axes, place, row.difference, "s", row.difference.excludes_zero, row.star)
        else:
            gone = spread_text(row.group, TOP1) if row.group.diverged else "–"
            _said(axes, place, "reference" if row.is_reference else gone)
    axes.set_xlabel(f"difference to {base} (points of %)")


def _sight(found: Sequence[Difference]) -> tuple[float, float]:
    """Limits in which means can be told apart, however wide the intervals of two seeds are."""
    means = [0.0, *(one.mean for one in found)]
    ends = [end for one in found for end in (one.low, one.high) if not math.isnan(end)] + means
    room = max(0.8 * (max(means) - min(means)), 1.0)
    low, high = max(min(ends), min(means) - room), min(max(ends), max(means) + room)
    low, high = min(low, -0.1), max(high, 0.1)  # no scatter and no difference is a line of no width
    return low - 0.08 * (high - low), high + 0.08 * (high - low)


def _interval(axes: Axes, place: float, one: Difference, marker: str, filled: bool, star: bool = False) -> None:
    """Mean and interval; an end beyond the axis is an arrow at the edge with its value."""
    low, high = axes.get_xlim() if marker == "s" else (-math.inf, math.inf)
    axes.plot(one.mean, place, "*" if star else marker, color="black", markerfacecolor="black" if filled else "white",
              markersize=7 if star else 4, zorder=3)  # fmt: skip
    if math.isnan(one.low):
        return
    axes.plot([max(one.low, low), min(one.high, high)], [place, place], "-", color="black", zorder=2)
    for end, edge, sign in ((one.low, low, "<"), (one.high, high, ">")):
        if (end < edge) if sign == "<" else (end > edge):
            axes.plot(edge, place, sign, color="black", clip_on=False, zorder=3)
            side = "left" if sign == "<" else "right"
            axes.text(edge, place - 0.16, number(end, 1, True), ha=side, va="bottom", fontsize=5.5)


def _seeds(axes: Axes, place: float, values: Sequence[float]) -> None:
    """Seeds as points where they are few, and a bar at their mean."""
    if len(values) <= SEEDS:
        axes.plot(values, [place] * len(values), "o", color="0.55", markersize=3)
    if values:
        axes.plot([sum(values) / len(values)] * 2, [place - 0.3, place + 0.3], "-", color="black")


def _said(axes: Axes, place: float, text: str) -> None:
    axes.text(0.03, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=6.5, color="0.35",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip


def _panels(name: str, title: str, groups: Sequence[tuple[str, Group]], metrics: Sequence[Metric]) -> Drawing:
    shown = groups[:ROWS]
    told = "; ".join(f"{metric.name}: {metric.sentence.rstrip('.').lower()}" for metric in metrics)
    caption = f"{title}. {told}. Points are seeds, bars means." if _few(g for _, g in shown) else f"{title}. {told}."
    words = "; ".join(_extremes(shown, metric) for metric in metrics) + "."

    def draw() -> Figure:
        figure, axes = _rows([label for label, _ in shown], len(metrics), PAGE)
        for one, metric in zip(axes, metrics, strict=True):
            for place, (_, group) in enumerate(shown):
                _seeds(one, place, group.values(metric))
            one.set_xlabel(metric.head)
            one.xaxis.set_major_locator(MaxNLocator(4))
            _limit(one, 0.0, 100.0 if metric.unit == "%" else math.inf)
        return figure

    return Drawing(name, caption, words, draw)


def _draw_grid(grid: Grid, rows: Sequence[Coordinate]) -> Figure:
    wide = len(rows) > 4 or (not grid.numeric and len(grid.columns) > 3)
    labels = ["\n".join(textwrap.wrap(row_label(grid, row), 24)) for row in rows]
    across = 4 if wide else 2
    figure = Figure(figsize=(PAGE if wide else COLUMN, 2.4 + 0.13 * -(-len(rows) // across)), layout="constrained")
    axes = figure.subplots()
    few = _few(grid.groups.values())
    places = (
        [float(column[0]) for column in grid.columns] if grid.numeric else list(map(float, range(len(grid.columns))))
    )
    step = 0.0 if grid.numeric else 0.7 / max(1, len(rows))
    gone = []
    for order, row in enumerate(rows):
        look: dict[str, Any] = {"color": COLOURS[order % 8], "marker": MARKERS[order % 8]}
        shift = (order - (len(rows) - 1) / 2) * step
        means: list[tuple[float, float]] = []
        for place, column in zip(places, grid.columns, strict=True):
            group = grid.groups.get((row, column))
            values = [] if group is None else group.values(TOP1)
            if group is not None and group.diverged:
                gone.append((place + shift, look["color"]))
            elif values:
                means.append((place + shift, sum(values) / len(values)))
                if few:
                    axes.plot(
                        [place + shift] * len(values), values, "o", color=look["color"], markersize=1.8, alpha=0.45
                    )
                else:
                    one = interval(values)
                    axes.plot([place + shift] * 2, [one.low, one.high], "-", color=look["color"], linewidth=0.8)
        style = LINES[order % 4] if grid.numeric else ""
        axes.plot([x for x, _ in means], [y for _, y in means], linestyle=style, label=labels[order], **look)
    _limit(axes, 0.0, 100.0, vertical=True)
    for x, colour in gone:
        axes.plot(x, 0.02, "x", color=colour, transform=axes.get_xaxis_transform(), clip_on=False)
    if gone:
        axes.plot([], [], "x", color="0.4", linestyle="", label="some seed diverged")
    axes.set_ylabel(TOP1.head)
    if grid.numeric:
        axes.set_xlabel(grid.sweep.table.columns[0])
        axes.xaxis.set_major_locator(MaxNLocator(min(8, len(places))))
    else:
        words = [
            "\n".join(textwrap.wrap(column_words(grid, column), max(6, 44 // len(places) * (1 + wide))))
            for column in grid.columns
        ]
        axes.set_xticks(places, words)
        axes.set_xlabel(", ".join(grid.sweep.table.columns))
        axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=min(across, len(rows)), handlelength=2.2, columnspacing=1.2)
    return figure


def _shown(grid: Grid) -> list[Coordinate]:
    """At most `SERIES` rows: where there are more, the first and those with the highest means."""
    if len(grid.rows) <= SERIES:
        return grid.rows

    def height(row: Coordinate) -> float:
        means = [grid.groups[row, one].spread(TOP1).mean for one in grid.columns if (row, one) in grid.groups]
        return max((mean for mean in means if not math.isnan(mean)), default=-math.inf)

    best = sorted(grid.rows[1:], key=height, reverse=True)[: SERIES - 1]
    return [row for row in grid.rows if row == grid.rows[0] or row in best]


def _limit(axes: Axes, low: float, high: float, vertical: bool = False) -> None:
    """A share ends at 0 and 100 %; a little room is left for markers at the ends."""
    begin, end = axes.get_ylim() if vertical else axes.get_xlim()
    (axes.set_ylim if vertical else axes.set_xlim)(max(begin, low), min(end, high))


def _few(groups: Iterator[Group] | Sequence[Group] | Any) -> bool:
    return all(group.n <= SEEDS for group in groups)


def _forest_words(rows: Sequence[tuple[str, Compared]], base: str) -> str:
    words = _extremes([(name, row.group) for name, row in rows], TOP1)
    clear = [
        f"{name} {number(row.difference.mean, 2, True)}"
        for name, row in rows
        if row.difference and row.difference.excludes_zero
    ]
    told = f"; the interval to {base} excludes 0 for {', '.join(clear) or 'none'}" if base else ""
    gone = [f"{spread_text(row.group, TOP1)} ({name})" for name, row in rows if row.group.diverged]
    return f"{words}{told}{'; ' + ', '.join(gone) if gone else ''}."


def _extremes(groups: Sequence[tuple[str, Group]], metric: Metric) -> str:
    means = [(group.spread(metric).mean, name) for name, group in groups if group.spread(metric).n]
    if not means:
        return f"{metric.name} was not measured"
    (low, lowest), (high, highest) = min(means), max(means)
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{metric.name} goes from {metric.text(low)} ({lowest}) to {metric.text(high)}{unit} ({highest})"


def _grid_words(grid: Grid, rows: Sequence[Coordinate]) -> str:
    told = []
    for row in rows:
        there = [(column_words(grid, one), grid.groups[row, one]) for one in grid.columns if (row, one) in grid.groups]
        told.append(f"{row_label(grid, row)}: {_extremes(there, TOP1)}")
    return "; ".join(told) + "."
