"""The differences of one table as a picture: a dot and its interval for each, against zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from kd_experiments.reporting.statistics import Difference
from kd_experiments.reporting.table import Table

LEFT, WIDTH, RIGHT, ROW, TOP = 250.0, 400.0, 190.0, 22.0, 8.0  # SVG units


@dataclass(frozen=True)
class Compared:
    """One cell that is compared with the reference."""

    label: str
    difference: Difference
    star: bool  # stays after Holm's correction


@dataclass(frozen=True)
class Mark:
    """Where a difference stands in the picture; `low` and `high` are None for a single pair."""

    label: str
    y: float
    x: float
    low: float | None
    high: float | None
    clear: bool  # the interval does not hold 0
    text: str


@dataclass(frozen=True)
class Forest:
    """What the template draws."""

    width: float
    height: float
    zero: float
    bottom: float
    ticks: Sequence[tuple[float, str]]
    marks: Sequence[Mark]


def compared(table: Table) -> list[Compared]:
    """Every difference of a table, named by its row, and by its column too where several columns hold some."""
    places = {place for row in table.rows for place, cell in enumerate(row) if cell.difference is not None}
    return [
        Compared(
            row[0].text if len(places) == 1 else f"{row[0].text} · {table.header[place]}",
            cell.difference,
            cell.star,
        )
        for row in table.rows
        for place, cell in enumerate(row)
        if cell.difference is not None
    ]


def forest(found: Sequence[Compared]) -> Forest | None:
    """The picture of some differences, or None without any."""
    if not found:
        return None
    ends = [0.0]
    for one in found:
        ends += [end for end in (one.difference.low, one.difference.mean, one.difference.high) if not math.isnan(end)]
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(min(ends), max(ends))
    low, high = float(ticks[0]), float(ticks[-1])

    def across(value: float) -> float:
        return round(LEFT + WIDTH * (value - low) / (high - low), 1)

    marks = []
    for place, one in enumerate(found):
        gap, single = one.difference, math.isnan(one.difference.low)
        marks.append(
            Mark(
                label=one.label if len(one.label) <= 38 else f"{one.label[:37]}…",
                y=TOP + ROW * (place + 0.5),
                x=across(gap.mean),
                low=None if single else across(gap.low),
                high=None if single else across(gap.high),
                clear=not single and gap.excludes_zero,
                text=told(gap) + (" *" if one.star else ""),
            )
        )
    bottom = TOP + ROW * len(found)
    shown = [(across(float(tick)), f"{tick:+.4g}".replace("-", "−") if tick else "0") for tick in ticks]
    return Forest(LEFT + WIDTH + RIGHT, bottom + 26, across(0.0), bottom, shown, marks)


def told(gap: Difference) -> str:
    """`+0.34 [−1.62, +2.30]`, or the mean alone for a single pair."""
    text = f"{gap.mean:+.2f}"
    if not math.isnan(gap.low):
        text += f" [{gap.low:+.2f}, {gap.high:+.2f}]"
    return text.replace("-", "−")
