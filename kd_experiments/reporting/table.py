"""A table as text for people, and as Markdown, HTML, LaTeX, CSV and a terminal show it."""

from __future__ import annotations

import html as html_format
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

from kd_experiments.escaping import csv_cell
from kd_experiments.escaping import markdown as markdown_words
from kd_experiments.reporting.frame import csv_text

# Columns of numbers beside each other in LaTeX: in a column of a page, across it, and there with wide cells.
BLOCK, FULL_BLOCK, WIDE_BLOCK = 3, 6, 3
PAPER, LINES, CAPTION = 6, 40, 25  # columns of a paper's table, lines of what stands on one page, words
SCATTER = r" (\\ensuremath\{\\pm\} .*|\{\[\}.*)$"  # of a mean, as LaTeX
QUOTES = "published"  # the head of numbers from papers
T = TypeVar("T")


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
        found = re.match(r"[+−]?[\d,]*\.?\d+(?!.* diverged)", self.text)
        return float(found.group().replace("−", "-").replace(",", "")) if found else -math.inf


@dataclass(frozen=True)
class Row:
    name: str
    cells: Sequence[Cell]


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
    rows = [list(map(markdown_words, [table.head, *table.columns])), ["---"] + ["---:"] * len(table.columns)]
    for row in table.rows:
        cells = [_decorated(cell, "**", "**", markdown_words) for cell in row.cells]
        rows.append([markdown_words(row.name), *cells])
    lines = [f"{'#' * level} {markdown_words(table.title)}", "", *("| " + " | ".join(row) + " |" for row in rows)]
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
    rows = "".join(f'<tr><th scope="row">{html_format.escape(row.name)}</th>{"".join(map(cell, row.cells))}</tr>'
                   for row in table.rows)  # fmt: skip
    region = f'<div class="wide" tabindex="0" role="region" aria-label="{html_format.escape(table.title)}">'
    return f'{region}<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def comma_separated(table: Table, digest: str) -> str:
    """Numbers with six digits, which any machine computes alike; the last column names the runs they are made of."""
    columns = [*dict.fromkeys(key for row in table.figures for key in row), "runs"]
    rows = [[_comma_cell(({**row, "runs": digest}).get(key)) for key in columns] for row in table.figures]
    return csv_text([columns, *rows])


def _comma_cell(value: object) -> object:
    return csv_cell(value) if not isinstance(value, float) else "" if math.isnan(value) else f"{value:.6g}"


def latex(table: Table, digest: str, full: bool = False) -> str:
    """A table for booktabs and threeparttable: for a paper, or with all columns for its supplement.

    Columns of numbers stand in blocks below each other, few enough for one column of a two-column page; numbers from
    papers take both. What is higher than a page goes on in further floats.
    """
    places = list(range(len(table.columns))) if full or not table.paper else list(table.paper)
    quotes = any(table.columns[place] == QUOTES for place in places)
    intervals = any(cell.interval for row in table.rows for cell in row.cells)
    wide, kind = full or quotes, "table*" if full or quotes else "table"
    size = (WIDE_BLOCK if intervals or quotes else FULL_BLOCK) if wide else BLOCK
    count = max(1, -(-len(places) // size))
    blocks = [places[number * len(places) // count : (number + 1) * len(places) // count] for number in range(count)]
    rows = _together(table.rows, lambda row: _height(row, wide))
    floats = _together([(part, block) for block in blocks for part in rows],
                       lambda one: 3 + sum(_height(row, wide) for row in one[0]))  # fmt: skip
    caption, rest = _caption(table)
    label = f"{re.sub(r'[^A-Za-z0-9.-]+', '-', table.name)}{'-full' * full}"
    lines = [rf"% \usepackage{{booktabs,threeparttable,array}}  runs {digest}"]
    lines += [f"% missing: {line}".encode("ascii", "replace").decode() for line in table.missing]
    told = [rest, *(note for note in table.notes if full or not note.startswith("Detectable"))]
    told += ["The supplement has further columns."] * (len(places) < len(table.columns))
    notes = " ".join(escape(note) for note in told if note)
    head = [rf"  \caption{{{escape(caption)}}}", rf"  \label{{tab:{label}}}"]
    for number, parts in enumerate(floats, start=1):
        lines += [rf"\begin{{{kind}}}[tbp]", r"  \centering\footnotesize\setlength{\tabcolsep}{2pt}",
                  r"  \setlength{\columnwidth}{\linewidth}\begin{threeparttable}", *head]  # fmt: skip
        for place, (part, block) in enumerate(parts):
            lines += [*([r"  \par\smallskip"] if place else []), *_tabular(table, part, block, full)]
        if notes and number == len(floats):
            lines += [rf"  \begin{{tablenotes}}[flushleft]\scriptsize \item {notes}", r"  \end{tablenotes}"]
        lines += [r"  \end{threeparttable}", rf"\end{{{kind}}}"]
        head = [r"  \addtocounter{table}{-1}\caption{Continued.}"]
    return "\n".join(lines) + "\n"


def _caption(table: Table) -> tuple[str, str]:
    """As many whole parts as have at most `CAPTION` words, and the others, for the notes."""
    parts = re.split(r"(?<=[.;]) ", table.caption or table.title)
    kept = max(end for end in range(len(parts) + 1) if len(" ".join(parts[:end]).split()) <= CAPTION)
    return " ".join(parts[:kept]).rstrip(";"), " ".join(parts[kept:])


def _together(items: Sequence[T], height: Callable[[T], int]) -> list[list[T]]:
    """Neighbours in groups of at most `LINES` lines."""
    groups: list[list[T]] = [[]]
    for item in items:
        if groups[-1] and sum(map(height, [*groups[-1], item])) > LINES:
            groups.append([])
        groups[-1].append(item)
    return groups


def _height(row: Row, wide: bool) -> int:
    """About how many lines a row has: its name is wrapped, and differences stand below."""
    return -(-len(row.name) // (30 if wide else 13)) + any(cell.difference for cell in row.cells)


def _tabular(table: Table, rows: Sequence[Row], places: Sequence[int], full: bool) -> list[str]:
    long = max(len(row.name) for row in table.rows) > 14
    first = r">{\raggedright\arraybackslash\hangindent=1em}p{0.28\columnwidth}" if long else "l"
    shown = [re.sub(r"[,;]? \(?%\)?|\[95 %\]", "", table.columns[place]).strip() for place in places]
    box = rf"\parbox[b]{{{0.11 if full else 0.2}\columnwidth}}{{\raggedleft\scriptsize "
    heads = [f"{box}{_breakable(text)}}}" if len(text) > 10 else escape(text) for text in shown]
    lines = [rf"  \begin{{tabular}}{{{first}{'r' * len(places)}}}", r"    \toprule"]
    lines += [f"    {' & '.join([_breakable(table.head), *heads])} \\\\", r"    \midrule"]
    for row in rows:
        cells = [row.cells[place] for place in places]
        texts = [re.sub(SCATTER, r"\\,{\\scriptsize \1}", escape(cell.text)) for cell in cells]
        tops = [rf"\textbf{{{text}}}" if cell.best else text for cell, text in zip(cells, texts, strict=True)]
        lines.append(f"    {' & '.join([_breakable(row.name), *tops])} \\\\")
        if any(cell.difference and cell.text for cell in cells):
            told = [" ".join([cell.difference, cell.interval if full else ""]).strip() for cell in cells]
            under = [rf"{{\scriptsize {escape(text)}}}" if text else "" for text in told]
            lines.append(f"    {' & '.join(['', *under])} \\\\")
    return [*lines, r"    \bottomrule", r"  \end{tabular}"]


def _breakable(text: str) -> str:
    """A head or a name, which is narrow: values and parts of names may stand on the next line."""
    return escape(text).replace(r"\_", r"\_\allowbreak ").replace("=", r"=\allowbreak ")


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


def _decorated(cell: Cell, before: str, after: str, words: Callable[[str], str]) -> str:
    """A cell in one line: the best figure and a clear difference in bold."""
    parts = [(cell.text, cell.best), (" ".join(filter(None, [cell.difference, cell.interval])), cell.clear)]
    return " ".join(f"{before}{words(text)}{after}" if bold else words(text) for text, bold in parts if text)
