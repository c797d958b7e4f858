"""How all figures look: told apart by marker, line and hatch before colour, and the same bytes every time."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from kd_experiments.files import write_bytes
from kd_experiments.reporting.statistics import Difference

COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "X", "P", "*")
LINES = ("-", "--", "-.", ":")
GREYS = LinearSegmentedColormap.from_list("greys", ["1.0", "0.42"])  # never so dark that a black frame is lost
LETTERS = 13.5  # of a title in an inch
LOOK: Any = {
    "font.size": 9,
    "axes.titlesize": 9,
    "figure.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.7,
    "svg.hashsalt": "kd_experiments",
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw and save inside this: matplotlib's defaults and ours, whatever the user's own settings are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(LOOK)
        yield


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg without dates, so that the same records give the same files."""
    written = []
    for ending, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        content = io.BytesIO()
        figure.savefig(content, format=ending[1:], dpi=150, metadata=metadata)
        path = stem.with_name(stem.name + ending)  # with_suffix would cut a slug at its dot
        write_bytes(path, content.getvalue())
        written.append(path)
    return written


def line(place: int) -> dict[str, Any]:
    """Colour, marker and line of the curve at a place; neighbours differ in all three."""
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "linestyle": LINES[(place + place // len(MARKERS)) % len(LINES)],
    }


def curve(axes: Axes, values: pd.DataFrame, place: int, label: str, **changes: Any) -> None:
    """A mean over epochs with its band of one standard deviation; `changes` of the line's look."""
    look = line(place) | changes
    every = max(1, len(values) // 12)
    axes.plot(values.index, values["mean"], label=label, markevery=(place % every, every), **look)
    if (values["sd"] > 0).any():
        low, high = values["mean"] - values["sd"], values["mean"] + values["sd"]
        axes.fill_between(values.index, low, high, color=look["color"], alpha=0.15, linewidth=0)


def percent_axis(axes: Axes) -> None:
    """A band may reach below 0 or beyond 100 %, a share cannot: the axis ends there."""
    low, high = axes.get_ylim()
    low, high = max(low, 0.0), min(high, 100.0)
    margin = 0.03 * (high - low)  # so that markers at the ends are whole
    axes.set_ylim(low - margin, high + margin)


def epoch_axis(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def legend_below(figure: Figure, axes: Axes) -> None:
    """One legend for all panels, under them, in as many columns (at most four) as have room."""
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        room = int(figure.get_figwidth() * LETTERS / (max(map(len, labels)) + 8))
        figure.legend(handles, labels, loc="outside lower center", ncols=max(1, min(4, room, len(labels))))


def panels(
    names: Sequence[str], width: float, height: float, extra: float, columns: int = 3
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each name, `width` x `height` inches each, and `extra` inches for what is below."""
    across = min(len(names), columns)
    down = math.ceil(len(names) / across)
    figure = Figure(figsize=(max(width * across, 5.4), 0.7 + height * down + extra), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    return figure, dict(zip(names, grid.flat, strict=False))


def headline(figure: Figure, *lines: str) -> None:
    """The title, each of its lines broken where the figure ends."""
    figure.suptitle("\n".join(broken(text, figure.get_figwidth()) for text in lines))


def broken(text: str, inches: float) -> str:
    """A text with line breaks where it would be wider than that."""
    return "\n".join(textwrap.wrap(text, int(inches * LETTERS)))


def keep_in_sight(
    axes: Axes, found: Sequence[Difference], horizontal: bool = False, include: float | None = None
) -> bool:
    """Limit the axis so that means can be told apart, however wide the intervals of two seeds are; whether it cuts.

    `include` is a value that must be seen too: 0 for differences. Without one these are shares in percent.
    """
    if not found:
        return False
    means = [each.mean for each in found] + ([] if include is None else [include])
    ends = [end for each in found for end in (each.low, each.high) if not math.isnan(end)] + means
    room = max(0.8 * (max(means) - min(means)), 1.0)
    low, high = max(min(ends), min(means) - room), min(max(ends), max(means) + room)
    if include is None:
        low, high = max(low, 0.0), min(high, 100.0)
    margin = 0.06 * (high - low) or 0.5
    (axes.set_xlim if horizontal else axes.set_ylim)(low - margin, high + margin)
    return min(ends) < low - margin or max(ends) > high + margin


def ink(shades: Normalize, value: float) -> str:
    """Black or white, whichever can be read on the shade of a value."""
    return "white" if GREYS(float(shades(value)))[0] < 0.5 else "black"


def picture(axes: Axes, image: Tensor) -> None:
    """A uint8 image (C, H, W), grey or RGB, pixel for pixel."""
    pixels = image.cpu().permute(1, 2, 0).numpy()
    axes.imshow(pixels[..., 0] if pixels.shape[2] == 1 else pixels, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    axes.spines[:].set_visible(True)
