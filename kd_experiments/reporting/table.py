"""One table as data: what stands in every cell, before any format writes it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kd_experiments.reporting.statistics import Difference, Spread

Kind = Literal["setting", "sweep", "rank", "cost"]


@dataclass(frozen=True)
class Cell:
    """What one place of a table says: words, or a figure, or a difference, or a figure with its difference.

    A cell that says nothing of these is one that nobody has measured.
    """

    text: str = ""
    value: Spread | None = None
    digits: int = 2  # decimals of `value`
    counted: bool = False  # whether `value` is shown with its n
    difference: Difference | None = None  # to the reference cell, paired by seed
    star: bool = False  # the difference stays after Holm's correction over the table
    reference: bool = False  # others are compared with this one

    @property
    def number(self) -> float | None:
        """What to sort by; None for words and for nothing."""
        if self.value is not None and self.value.n:
            return self.value.mean
        return None if self.difference is None else self.difference.mean

    @property
    def bold(self) -> bool:
        """Whether there is a difference whose interval does not hold 0."""
        return self.difference is not None and not math.isnan(self.difference.low) and self.difference.excludes_zero


@dataclass(frozen=True)
class Table:
    """Everything a table shows; formats only lay it out. `keys`, `header` and every row are equally long."""

    name: str  # file name without ending
    title: str
    kind: Kind
    keys: Sequence[str]  # of the columns, for CSV
    header: Sequence[str]  # of the columns, for people
    rows: Sequence[Sequence[Cell]]  # the first cell of a row is its label
    notes: Sequence[str] = ()  # how to read it, and where published numbers come from
    missing: Sequence[str] = ()  # what is missing, with the command that fills it
    unshown: Mapping[str, Sequence[Cell]] = field(default_factory=dict)  # columns for CSV alone: key -> a cell a row


@dataclass(frozen=True)
class Column:
    """One column of a table that is being made."""

    key: str
    title: str
    cells: Sequence[Cell]


def table(
    name: str,
    title: str,
    kind: Kind,
    columns: Sequence[Column],
    notes: Sequence[str] = (),
    missing: Sequence[str] = (),
    unshown: Mapping[str, Sequence[Cell]] | None = None,
) -> Table:
    """A table of equally long columns."""
    return Table(
        name=name,
        title=title,
        kind=kind,
        keys=[column.key for column in columns],
        header=[column.title for column in columns],
        rows=list(zip(*(column.cells for column in columns), strict=True)),
        notes=notes,
        missing=missing,
        unshown=unshown or {},
    )


def words(texts: Iterable[object]) -> list[Cell]:
    return [Cell(text=str(text)) for text in texts]
