"""A table as text for people, and as Markdown, HTML, LaTeX, CSV and a terminal show it."""

from __future__ import annotations

import html as html_format
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from kd_experiments.escaping import csv_cell
from kd_experiments.escaping import markdown as markdown_words
from kd_experiments.reporting.frame import csv_text

# Columns of numbers beside each other in LaTeX: in a column of a page, across it, and there with intervals below.
BLOCK, FULL_BLOCK, WITH_INTERVALS = 3, 6, 4
CAPTION = 25  # words


@dataclass(frozen=True)
class Cell:
    """What stands in one cell: a figure and, below it in a paper, its difference."""

    text: str = "–"
    difference: str = ""
    interval: str = ""  # of the difference
    best: bool = False  # of its column
    clear: bool = False  # the difference's interval excludes 0

    @property
    def number(self) -> float:
        """What a column is sorted by; a gap is below every figure."""
        found = re.match(r"[+−]?[\d,]*\.?\d+", self.text)
        return float(found.group().replace("−", "-").replace(",", "")) if found else -math.inf


@dataclass(frozen=True)
class Row:
    label: str
    cells: Sequence[Cell]
    title: str = ""  # the label under its published name

    @property
    def name(self) -> str:
        return self.title or self.label


@dataclass(frozen=True)
class Table:
    """`columns` head the cells of every row; `paper` names those that a paper's table shows."""

    name: str
    title: str
    data: str  # the data set whose page it stands on
    columns: Sequence[str]
    rows: Sequence[Row]
    figures: Sequence[Mapping[str, Any]]  # its numbers, for CSV
    caption: str = ""  # for a paper
    notes: Sequence[str] = ()
    missing: Sequence[str] = ()  # what is missing, with the command that fills it
    paper: Sequence[int] = field(default_factory=tuple)
    head: str = "method"


def markdown(table: Table, level: int = 2) -> str:
    """Heading, table, notes, and what fills its gaps."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    lines = [f"{'#' * level} {table.title}", "", line([table.head, *map(markdown_words, table.columns)])]
    lines += [line(["---"] + ["---:"] * len(table.columns))]
    for row in table.rows:
        cells = [_decorated(cell, "**", "**", markdown_words) for cell in row.cells]
        lines.append(line([markdown_words(row.name), *cells]))
    lines += ["", *(f"{markdown_words(note)}  " for note in table.notes)]
    if table.missing:
        lines += ["", "Missing:", "", *(f"- {markdown_words(line)}" for line in table.missing)]
    return "\n".join(lines).rstrip() + "\n"


def html(table: Table) -> str:
    """The table alone; numbers are sorted by `data-value`, gaps last."""

    def cell(one: Cell) -> str:
        value = one.number if math.isfinite(one.number) else ""
        return f'<td data-value="{value}">{_decorated(one, "<b>", "</b>", html_format.escape)}</td>'

    heads = "".join(f'<th scope="col" aria-sort="none"><button>{html_format.escape(name)}</button></th>'
                    for name in (table.head, *table.columns))  # fmt: skip
    rows = "".join(
        f'<tr><th scope="row">{html_format.escape(row.name)}</th>{"".join(map(cell, row.cells))}</tr>'
        for row in table.rows
    )
    title = html_format.escape(table.title)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}"><table class="sortable"><thead><tr>{heads}'
        f"</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def comma_separated(table: Table, digest: str) -> str:
    """Numbers with six digits, which any machine computes alike; the last column names the runs they are made of."""
    columns = [*dict.fromkeys(key for row in table.figures for key in row), "runs"]
    rows = [[_comma_cell(({**row, "runs": digest}).get(key)) for key in columns] for row in table.figures]
    return csv_text([columns, *rows])


def _comma_cell(value: object) -> object:
    return csv_cell(value) if not isinstance(value, float) else "" if math.isnan(value) else f"{value:.6g}"


def latex(table: Table, digest: str, full: bool = False) -> str:
    """A table for booktabs and threeparttable: for a paper, or with all columns for its supplement.

    Columns of numbers stand in blocks below each other, few enough for one column of a two-column page.
    """
    places = list(range(len(table.columns))) if full or not table.paper else list(table.paper)
    kind = "table*" if full else "table"
    lines = [
        rf"% \usepackage{{booktabs,threeparttable,array}}  runs {digest}",
        *(f"% missing: {line}".encode("ascii", "replace").decode() for line in table.missing),
        rf"\begin{{{kind}}}[tb]",
        r"  \centering\footnotesize\setlength{\tabcolsep}{2pt}",
        r"  \begin{threeparttable}",
        rf"  \caption{{{escape(' '.join((table.caption or table.title).split()[:CAPTION]))}}}",
        rf"  \label{{tab:{re.sub(r'[^A-Za-z0-9.-]+', '-', table.name)}{'-full' * full}}}",
    ]
    intervals = any(cell.interval for row in table.rows for cell in row.cells)
    size = (WITH_INTERVALS if intervals else FULL_BLOCK) if full else BLOCK
    count = max(1, -(-len(places) // size))
    for number in range(count):
        block = places[number * len(places) // count : (number + 1) * len(places) // count]
        lines += [*([r"  \par\smallskip"] if number else []), *_tabular(table, block, full)]
    notes = " ".join(escape(note) for note in table.notes if full or not note.startswith("Detectable"))
    lines += [rf"  \begin{{tablenotes}}[flushleft]\scriptsize \item {notes}", r"  \end{tablenotes}"] if notes else []
    return "\n".join([*lines, r"  \end{threeparttable}", rf"\end{{{kind}}}"]) + "\n"


def _tabular(table: Table, places: Sequence[int], full: bool) -> list[str]:
    long = max(len(row.name) for row in table.rows) > 14
    first = r">{\raggedright\arraybackslash\hangindent=1em}p{0.28\linewidth}" if long else "l"
    shown = [escape(re.sub(r"[,;]? \(?%\)?|\[95 %\]", "", table.columns[place]).strip()) for place in places]
    heads = [
        rf"\parbox[b]{{{0.11 if full else 0.2}\linewidth}}{{\raggedleft {text}}}" if len(text) > 12 else text
        for text in shown
    ]
    lines = [rf"  \begin{{tabular}}{{{first}{'r' * len(places)}}}", r"    \toprule"]
    lines += [f"    {' & '.join([escape(table.head), *heads])} \\\\", r"    \midrule"]
    for row in table.rows:
        cells = [row.cells[place] for place in places]
        label = escape(row.name).replace(r"\_", r"\_\allowbreak ").replace("=", r"=\allowbreak ")
        texts = [_small_scatter(escape(cell.text)) for cell in cells]
        tops = [rf"\textbf{{{text}}}" if cell.best else text for cell, text in zip(cells, texts, strict=True)]
        lines.append(f"    {' & '.join([label, *tops])} \\\\")
        if any(cell.difference and cell.text for cell in cells):
            told = [" ".join([cell.difference, cell.interval if full else ""]).strip() for cell in cells]
            under = [rf"{{\scriptsize {escape(text)}}}" if text else "" for text in told]
            lines.append(f"    {' & '.join(['', *under])} \\\\")
    return [*lines, r"    \bottomrule", r"  \end{tabular}"]


@cache
def _encoder() -> Callable[[str], str]:
    from pylatexenc.latexencode import UnicodeToLatexEncoder

    encoder = UnicodeToLatexEncoder(unknown_char_policy="unihex", unknown_char_warning=False)
    return lambda text: str(encoder.unicode_to_latex(text))


@cache
def escape(text: str) -> str:
    """LaTeX-safe text that pdflatex sets, whatever it holds."""
    safe = _encoder()(" ".join(text.replace("−", "\u2212").split()))
    return safe.replace("[", "{[}").replace("]", "{]}")  # a row that starts with one would be an optional argument


def _small_scatter(text: str) -> str:
    """What follows a mean, its deviation or its interval, in small type, as a column is narrow."""
    return re.sub(r" (\\ensuremath\{\\pm\} .*|\{\[\}.*)$", r"\\,{\\scriptsize \1}", text)


def _decorated(cell: Cell, before: str, after: str, words: Callable[[str], str]) -> str:
    """A cell in one line: the best figure and a clear difference in bold."""
    parts = [(cell.text, cell.best), (" ".join(filter(None, [cell.difference, cell.interval])), cell.clear)]
    return " ".join(f"{before}{words(text)}{after}" if bold else words(text) for text, bold in parts if text)
