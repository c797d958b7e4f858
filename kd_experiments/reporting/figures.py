"""Figures of a setting or a sweep: every condition with its seeds, and its difference to the reference."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, Any

from kd_experiments.files import write_bytes, write_text
from kd_experiments.reporting.metrics import ACCURACY, Metric, number
from kd_experiments.reporting.settings import Group, covers
from kd_experiments.reporting.statistics import Difference, interval
from kd_experiments.reporting.sweep_tables import Coordinate, Grid, cell_words, reference_words
from kd_experiments.reporting.tables import Compared, Comparison, spread_text

if TYPE_CHECKING:  # tables and captions are made without drawing
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMN, PAGE = 3.25, 6.8  # inches: of a column, and of a page of two
FORMATS = ("svg", "pdf", "png")
SERIES, ROWS = 8, 30  # at most, in one plot
SEEDS = 5  # up to so many are shown one by one
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#7F7F7F")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*")
LINES = ("-", "--", "-.", ":")
LOOK: dict[str, Any] = {
    "font.size": 7.5, "axes.labelsize": 7.5, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "grid.color": "0.9", "lines.linewidth": 1.1, "lines.markersize": 4, "legend.frameon": False,
    "svg.fonttype": "none", "pdf.fonttype": 42, "svg.hashsalt": "kd_experiments", "axes.unicode_minus": True,
    "text.parse_math": False,  # a dollar in somebody's own name is a dollar
}  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn, its caption, and what it shows in words."""

    name: str
    caption: str
    words: str
    draw: Callable[[], Figure]


def house_style() -> AbstractContextManager[None]:
    """Draw and save inside this: matplotlib's defaults and ours, whatever the user's own settings are."""
    from matplotlib import style

    return style.context(LOOK, after_reset=True)


def save(drawing: Drawing, folder: Path, digest: str, formats: Sequence[str] = FORMATS) -> list[Path]:
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
        for ending in formats:
            content = io.BytesIO()
            figure.savefig(content, format=ending, dpi=300, metadata=metadata[ending])
            paths.append(folder / f"{drawing.name}.{ending}")
            write_bytes(paths[-1], content.getvalue())
    paths.append(folder / f"{drawing.name}.txt")
    write_text(paths[-1], f"{drawing.caption}\n\nIn words: {drawing.words}\n\n{mark}\n")
    return paths


def of_setting(comparison: Comparison) -> list[Drawing]:
    """The forest of a setting, one column wide and one page wide, and its other figures of merit."""
    setting, named = comparison.setting, [(row.group.title, row) for row in comparison.rows]
    if len(named) < 2:
        return []
    base = "" if comparison.reference is None else comparison.reference.title
    made = _forests(setting.slug, setting.title, named, base)
    groups = [(name, row.group) for name, row in named if not row.group.diverged]
    kinds = {"quality": ("test_ece_last", "test_nll_last", "test_agreement_last", "test_inherited_errors_last"),
             "noise": ("clean_fit_last", "wrong_fit_last", "correction_last")}  # fmt: skip
    for kind, keys in kinds.items():
        metrics = [one for one in ACCURACY if one.key.removeprefix("metrics.") in keys]
        metrics = [one for one in metrics if any(group.values(one) for _, group in groups)]
        if metrics and len(groups) > 1:
            made.append(_panels(f"{kind}-{setting.slug}", setting.title, groups[:ROWS], metrics))
    return made


def of_sweep(grid: Grid) -> list[Drawing]:
    """Accuracy over the swept values, a line or a row of points for each other choice; a forest where rows are all."""
    if not grid.sweep.table.columns or len(grid.columns) < 2:
        named = [(cell_words(grid, row), grid.compared[row, column]) for row, column in grid.groups]
        return _forests(grid.name, grid.title, named, reference_words(grid)) if len(named) > 1 else []
    shown = _shown(grid)
    further = f"; {len(grid.rows) - len(shown)} further rows are in the table" if len(grid.rows) > len(shown) else ""
    marks = _marks(group.values() for (row, _), group in grid.groups.items() if row in shown)
    caption = f"{grid.title}. {grid.metric.head}; lines join means {covers(grid.runs)}; {marks}{further}."
    cells = {row: [(cell_words(grid, column=at), group) for (one, at), group in grid.groups.items() if one == row]
             for row in shown}  # fmt: skip
    words = "; ".join(f"{cell_words(grid, row)}: {_extremes(there)}" for row, there in cells.items()) + "."
    return [Drawing(grid.name, caption, words, lambda: _draw_grid(grid, shown))]


def _marks(drawn: Iterable[Sequence[float]]) -> str:
    """What stands for the seeds of those that are drawn."""
    sizes = list(map(len, drawn))
    few = "points are seeds, upright bars their means" if any(0 < n <= SEEDS for n in sizes) else ""
    many = "bars are 95 % intervals of means" if max(sizes) > SEEDS or not few else ""
    return f"{few}; where there are more than {SEEDS}, {many}" if few and many else few or many


def _forests(name: str, title: str, rows: Sequence[tuple[str, Compared]], base: str) -> list[Drawing]:
    shown = rows[:ROWS]
    more = f"; {len(rows) - ROWS} further rows are in the table" if len(rows) > ROWS else ""
    gap = f"ifference to {base} in points of %, paired, with its 95 % interval; filled where that excludes 0, a star"
    gap += " where it stays after Holm's correction; an arrow at the edge names what is beyond it"
    if any(row.difference is not None and row.difference.n <= SEEDS for _, row in shown):
        gap += f"; grey points are pairs where there are at most {SEEDS}"
    marks = _marks(row.group.values() for _, row in shown)
    wide = f"{title}. {shown[0][1].group.metric.head}: {marks}{more}.{f' Right: d{gap}.' if base else ''}"
    return [
        Drawing(f"forest-{name}", wide, _forest_words(shown, base), lambda: _draw_forest(shown, base, PAGE)),
        Drawing(f"forest-{name}-column", f"{title}. D{gap}{more}." if base else wide,
                _forest_words(shown, base, alone=bool(base)), lambda: _draw_forest(shown, base, COLUMN)),
    ]  # fmt: skip


def _draw_forest(rows: Sequence[tuple[str, Compared]], base: str, width: float) -> Figure:
    panels = 1 + (width == PAGE and bool(base))
    figure, axes, places = _rows([name for name, _ in rows], panels, width)
    if panels == 2 or not base:
        _scatter(axes[0], places, [row.group for _, row in rows], rows[0][1].group.metric)
    if base:
        _differences(axes[-1], places, [row for _, row in rows])
        axes[-1].set_xlabel(textwrap.fill(f"difference to {base} (points of %)", 40))
    return figure


def _rows(names: Sequence[str], panels: int, width: float) -> tuple[Figure, list[Axes], list[float]]:
    """Panels beside each other with a row for each name, the first at the top; and where the rows are, in inches."""
    labels = [textwrap.fill(name, 26, break_long_words=True) for name in names]
    heights = [0.1 + 0.125 * (1 + label.count("\n")) for label in labels]
    places = [end - height / 2 for end, height in zip(accumulate(heights), heights, strict=True)]
    # w_pad in inches, so that the last number of one panel is clear of the first of the next
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, 0.65 + sum(heights)), layout=ConstrainedLayoutEngine(w_pad=0.12))
    axes = list(figure.subplots(1, panels, sharey=True, squeeze=False)[0])
    axes[0].set_yticks(places, labels)
    axes[0].set_ylim(sum(heights), -0.06)
    for one in axes:
        one.grid(axis="y", visible=False)
        one.tick_params(axis="y", length=0)
        one.locator_params("x", nbins=6 // panels + 2)
    return figure, axes, places


def _scatter(axes: Axes, places: Sequence[float], groups: Sequence[Group], metric: Metric) -> None:
    """Few seeds as points with a bar at their mean, many as an interval, within what the metric may be."""
    most = 100.0 if metric.unit == "%" else math.inf
    for place, group in zip(places, groups, strict=True):
        values = group.values(metric)
        if group.diverged or not values:
            _said(axes, place, spread_text(group, metric))
        elif len(values) <= SEEDS:
            axes.plot(values, [place] * len(values), "o", color="0.55", markersize=3)
            axes.plot([math.fsum(values) / len(values)] * 2, [place - 0.08, place + 0.08], "-", color="black")
        else:
            _interval(axes, place, interval(values), (0.0, most), "o", signed=False)
    axes.set_xlabel(metric.head)
    _limit(axes, most)


def _differences(axes: Axes, places: Sequence[float], rows: Sequence[Compared]) -> None:
    """In limits in which means can be told apart, however wide the intervals of two seeds are."""
    found = [row.difference for row in rows if row.difference is not None]
    first, _, third = quantiles([0.0, 0.0, *(one.mean for one in found)], method="inclusive")
    far = 1 + 4 * (third - first)  # from the middle half: such a mean is told at the edge
    near = [one for one in found if first - far <= one.mean <= third + far]
    means = [0.0, *(one.mean for one in near)]
    ends = [end for one in near for end in (one.low, one.high) if not math.isnan(end)] + means
    room = max(0.8 * (max(means) - min(means)), 1.0)
    low, high = min(max(min(ends), min(means) - room), -0.1), max(min(max(ends), max(means) + room), 0.1)  # some width
    limits = low - 0.08 * (high - low), high + 0.08 * (high - low)
    axes.set_xlim(*limits)
    axes.axvline(0, color="black", linewidth=0.8, linestyle="--")
    for place, row in zip(places, rows, strict=True):
        if row.difference is not None:
            for value in row.difference.values if row.difference.n <= SEEDS else ():
                axes.plot(*_within(value, place, limits), color="0.55", markersize=3, clip_on=False)
            _interval(axes, place, row.difference, limits, "*" if row.star else "s", row.difference.excludes_zero)
        else:
            gone = spread_text(row.group) if row.group.diverged else "–"
            _said(axes, place, "reference" if row.is_reference else gone)


def _interval(axes: Axes, place: float, one: Difference, limits: tuple[float, float], marker: str,
              filled: bool = True, signed: bool = True) -> None:  # fmt: skip
    """Mean and interval; an end beyond the limits, or a mean, is an arrow at the edge with its value."""
    low, high = limits
    ends = ((one.low, "left"), (one.high, "right"))
    if low <= one.mean <= high:
        axes.plot(one.mean, place, marker, color="black", markerfacecolor="black" if filled else "white",
                  markersize=7 if marker == "*" else 4, zorder=3)  # fmt: skip
        axes.plot([max(one.low, low), min(one.high, high)], [place, place], "-", color="black", zorder=2)
    else:
        ends = ((one.mean, "left" if one.mean < low else "right"),) * 2
    for end, side in dict.fromkeys(ends):
        if not (low <= end <= high or math.isnan(end)):
            edge, _, mark = _within(end, place, limits)
            axes.plot(edge, place, mark, color="black", clip_on=False, zorder=3)
            axes.text(edge, place - 0.035, number(end, 1, signed), ha=side, va="bottom", fontsize=5.5)


def _within(value: float, place: float, limits: tuple[float, float], marks: str = "<o>") -> tuple[float, float, str]:
    """Where a value is drawn and with which mark: beyond the limits with an arrow at the edge."""
    low, high = limits
    return min(max(value, low), high), place, marks[1 - (value < low) + (value > high)]


def _said(axes: Axes, place: float, text: str) -> None:
    axes.text(0.03, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=6.5, color="0.35",
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip


def _panels(name: str, title: str, groups: Sequence[tuple[str, Group]], metrics: Sequence[Metric]) -> Drawing:
    told = "; ".join(f"{metric.name}: {metric.sentence.rstrip('.').lower()}" for metric in metrics)
    words = "; ".join(_extremes(groups, metric) for metric in metrics) + "."

    def draw() -> Figure:
        figure, axes, places = _rows([label for label, _ in groups], len(metrics), PAGE)
        for one, metric in zip(axes, metrics, strict=True):
            _scatter(one, places, [group for _, group in groups], metric)
        return figure

    marks = _marks(group.values() for _, group in groups)
    return Drawing(name, f"{title}. {told}. {marks[0].upper()}{marks[1:]}.", words, draw)


def _draw_grid(grid: Grid, rows: Sequence[Coordinate]) -> Figure:
    wide = len(rows) > 4 or (not grid.numeric and len(grid.columns) > 3)
    across = 4 if wide else 2
    labels = [textwrap.fill(cell_words(grid, row), 24) for row in rows]
    places = [float(column[0]) if grid.numeric else float(number) for number, column in enumerate(grid.columns)]
    room = max(7, int((95 if wide else 40) / len(places)))  # characters below a column
    words = [textwrap.fill(cell_words(grid, column=column), room, break_long_words=True) for column in grid.columns]
    lines = 1 if grid.numeric else max(1 + text.count("\n") for text in words)
    inches = 2.3 + 0.12 * (lines + sum(1 + max(label.count("\n") for label in labels[at : at + across])
                                      for at in range(0, len(labels), across)))  # fmt: skip
    from matplotlib.figure import Figure

    axes = (figure := Figure(figsize=(PAGE if wide else COLUMN, inches), layout="constrained")).subplots()
    gone = any(one.diverged for (row, _), one in grid.groups.items() if row in rows)
    beyond: list[float] = []
    for order, row in enumerate(rows):
        look: dict[str, Any] = {"color": COLOURS[order % 8], "marker": MARKERS[order % 8]}
        shift = 0.0 if grid.numeric else (order - (len(rows) - 1) / 2) * 0.7 / len(rows)
        means: list[tuple[float, float]] = []
        for place, column in zip(places, grid.columns, strict=True):
            group = grid.groups.get((row, column))
            values = [] if group is None else group.values()
            if group is not None and group.diverged:
                axes.plot(place + shift, 0.02, "x", color=look["color"], transform=axes.get_xaxis_transform(),
                          clip_on=False)  # fmt: skip
            elif values:
                means.append((place + shift, math.fsum(values) / len(values)))
                beyond += _upright(axes, place + shift, values, look["color"])
        style = LINES[order % 4] if grid.numeric else ""
        axes.plot([x for x, _ in means], [y for _, y in means], linestyle=style, label=labels[order], **look)
    _limit(axes, 100.0, upright=True)
    if gone:
        axes.plot([], [], "x", color="0.4", linestyle="", label="some seed diverged")
    if beyond:
        ends = " and ".join(number(end, 1) for end in dict.fromkeys([min(beyond), max(beyond)]))
        axes.plot([], [], "^", color="0.4", linestyle="", label=f"goes on, to {ends}")
    axes.set_ylabel(grid.metric.head)
    axes.set_xlabel(textwrap.fill(", ".join(grid.sweep.table.columns), 90 if wide else 40))
    if grid.numeric:
        axes.locator_params("x", nbins=min(8, len(places)))
    else:
        axes.set_xticks(places, words)
        axes.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=min(across, len(rows)), handlelength=2.2, columnspacing=1.2)
    return figure


def _upright(axes: Axes, place: float, values: Sequence[float], colour: str) -> list[float]:
    """Few seeds as points, many as their interval; ends beyond 0 or 100 %, which are arrows there, are given back."""
    if len(values) <= SEEDS:
        axes.plot([place] * len(values), values, "o", color=colour, markersize=1.8, alpha=0.45)
        return []
    one = interval(values)
    axes.plot([place] * 2, [max(one.low, 0.0), min(one.high, 100.0)], "-", color=colour, linewidth=0.8)
    beyond = [end for end in (one.low, one.high) if end < 0 or end > 100]
    for end in beyond:
        edge, _, mark = _within(end, place, (0.0, 100.0), "v ^")
        axes.plot(place, edge, mark, color=colour, clip_on=False)
    return beyond


def _shown(grid: Grid) -> list[Coordinate]:
    """At most `SERIES` rows: where there are more, the first and those with the highest means."""
    means = [(one.spread().mean, row) for (row, _), one in grid.groups.items() if one.spread().n]
    highest = list(dict.fromkeys(row for _, row in sorted(means, reverse=True) if row != grid.rows[0]))
    kept = grid.rows if len(grid.rows) <= SERIES else [grid.rows[0], *highest[: SERIES - 1]]
    return [row for row in grid.rows if row in kept]


def _limit(axes: Axes, most: float, upright: bool = False) -> None:
    """No axis goes beyond what its figure may be: 0 and, for a share, 100 %."""
    begin, end = axes.get_ylim() if upright else axes.get_xlim()
    (axes.set_ylim if upright else axes.set_xlim)(max(begin, 0.0), min(end, most))


def _forest_words(rows: Sequence[tuple[str, Compared]], base: str, alone: bool = False) -> str:
    """`alone`: without the panel of means."""
    gaps = [(row.difference.mean, name) for name, row in rows if row.difference]
    words = [_extremes([(name, row.group) for name, row in rows])]
    if alone:
        words = [_range(f"the difference to {base}", gaps, lambda gap: number(gap, 2, True), " points of %")]
    clear = [f"{name} {number(row.difference.mean, 2, True)}" for name, row in rows if row.difference and row.is_clear]
    words += [f"the interval to {base} excludes 0 for {', '.join(clear) or 'none'}"] if base else []
    words += [f"{spread_text(row.group)} ({name})" for name, row in rows if row.group.diverged]
    return f"{'; '.join(words)}."


def _extremes(groups: Sequence[tuple[str, Group]], other: Metric | None = None) -> str:
    metric = other or groups[0][1].metric
    means = [(group.spread(metric).mean, name) for name, group in groups if group.spread(metric).n]
    return _range(metric.name, means, metric.text, f" {metric.unit}" if metric.unit else "")


def _range(what: str, found: Sequence[tuple[float, str]], text: Callable[[float], str], unit: str) -> str:
    if not found:
        return f"{what} was not measured"
    (low, lowest), (high, highest) = min(found), max(found)
    return f"{what} goes from {text(low)} ({lowest}) to {text(high)}{unit} ({highest})"
