"""A table as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kd_experiments.reporting.statistics import Difference, Spread
from kd_experiments.reporting.table import Cell, Table


@dataclass(frozen=True)
class Symbols:
    """How one format writes what is not a plain word."""

    plus_minus: str
    minus: str
    bold: tuple[str, str]
    nothing: str
    star: str
    words: Callable[[str], str]


def written(cell: Cell, symbols: Symbols) -> str:
    """A cell as text."""
    if cell.text:
        return symbols.words(cell.text)
    parts = [] if cell.value is None or cell.value.n == 0 else [_spread(cell.value, cell, symbols)]
    if cell.difference is not None:
        parts.append(_difference(cell.difference, cell, symbols))
    if cell.reference and not parts:
        parts.append("reference")
    return " ".join(parts) or symbols.nothing


def markdown(table: Table) -> str:
    """A Markdown page of one table: title, table, notes, and what fills its gaps."""
    lines = [f"# {table.title}", "", _line(map(_markdown_words, table.header)), _rule(len(table.header))]
    lines += [_line(written(cell, MARKDOWN) for cell in row) for row in table.rows]
    lines += ["", *(f"{note}  " for note in table.notes[:-1]), *table.notes[-1:]]
    if table.missing:
        lines += ["", "Missing:", "", *(f"- {line}" for line in table.missing)]
    return "\n".join(lines) + "\n"


def latex(table: Table) -> str:
    """A LaTeX table for booktabs; what fills its gaps stands in comments."""
    caption = " ".join([f"{table.title}.", *table.notes])
    lines = [
        r"% needs \usepackage{booktabs} and, for its width, \usepackage{graphicx}",
        *(f"% missing: {_ascii(line)}" for line in table.missing),
        r"\begin{table}",
        rf"  \caption{{{escape(caption)}}}",
        r"  \resizebox{\linewidth}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, table.header))} \\\\",
        r"    \midrule",
        *(f"    {' & '.join(written(cell, LATEX) for cell in row)} \\\\" for row in table.rows),
        r"    \bottomrule",
        r"  \end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def comma_separated(table: Table) -> str:
    """Every cell in full precision, a figure's mean, sample standard deviation and n in columns of their own."""
    columns: list[tuple[str, Sequence[Cell]]] = [
        (key, [row[place] for row in table.rows]) for place, key in enumerate(table.keys)
    ]
    columns += table.unshown.items()
    parts = [part for key, cells in columns for part in _parts(key, cells)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in parts])
    writer.writerows(zip(*(values for _, values in parts), strict=True))
    return text.getvalue()


def escape(text: str) -> str:
    """LaTeX-safe text that pdflatex sets, whatever it holds."""
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isspace():
        return " "
    if " " < character <= "~" or character in _TEXT:
        return character
    name = unicodedata.name(character, "")
    if name.startswith("GREEK ") and " LETTER " in name and " WITH " not in name:
        return _greek(name)
    return _ascii(character)


def _greek(name: str) -> str:
    """`GREEK SMALL LETTER LAMDA` in math mode; capitals that look Latin are Latin there."""
    letter = {"LAMDA": "LAMBDA", "FINAL SIGMA": "SIGMA"}.get(name.split(" LETTER ")[1], name.split(" LETTER ")[1])
    if " CAPITAL " in name:
        shown = letter.capitalize()
        return rf"$\{shown}$" if shown in _GREEK_CAPITALS else shown[0]
    return "o" if letter == "OMICRON" else rf"$\{letter.lower()}$"


def _ascii(text: str) -> str:
    """Text without anything but printable ASCII: accents dropped, other signs by their number."""
    plain = unicodedata.normalize("NFKD", text)
    kept = (
        character if " " <= character <= "~" else "" if unicodedata.combining(character) else f"U+{ord(character):04X}"
        for character in plain
    )
    return "".join(kept)


_GREEK_CAPITALS = {"Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega"}
_TEXT = frozenset("äöüÄÖÜßàáâãåæçèéêëìíîïñòóôõøùúûýÿÀÁÂÃÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕØÙÚÛÝ§")  # in every Latin font
_LATEX = {
    **{character: "\\" + character for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # a row that starts with one would give the row before it an optional argument
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "°": r"$^\circ$",
    "→": r"$\to$",
    "←": r"$\leftarrow$",
    "↔": r"$\leftrightarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "⇒": r"$\Rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "’": "'",
    "‘": "`",
    "“": "``",
    "”": "''",
    "…": r"\dots{}",
    "²": "$^2$",
    "³": "$^3$",
}


def _markdown_words(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").split())


MARKDOWN = Symbols("±", "−", ("**", "**"), "–", r"\*", _markdown_words)
LATEX = Symbols(r"$\pm$", "$-$", (r"\textbf{", "}"), "--", r"$^{*}$", escape)


def _spread(value: Spread, cell: Cell, symbols: Symbols) -> str:
    text = _fixed(value.mean, cell.digits, symbols)
    if not math.isnan(value.std):
        text += f" {symbols.plus_minus} {value.std:.{cell.digits}f}"
    return f"{text} ({value.n})" if cell.counted else text


def _difference(found: Difference, cell: Cell, symbols: Symbols) -> str:
    text = _fixed(found.mean, 2, symbols, "+")
    if not math.isnan(found.low):
        open_bracket, close_bracket = symbols.words("["), symbols.words("]")
        text += (
            f" {open_bracket}{_fixed(found.low, 2, symbols, '+')}, {_fixed(found.high, 2, symbols, '+')}{close_bracket}"
        )
    if cell.bold:
        text = f"{symbols.bold[0]}{text}{symbols.bold[1]}"
    return text + (symbols.star if cell.star else "")


def _fixed(value: float, digits: int, symbols: Symbols, sign: str = "-") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", symbols.minus)


def _line(row: Iterator[str] | Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"


def _rule(columns: int) -> str:
    return "|" + "|".join([" --- "] + [" ---: "] * (columns - 1)) + "|"


def _parts(key: str, cells: Sequence[Cell]) -> Iterator[tuple[str, list[object]]]:
    """The CSV columns that a table's column needs: words, the parts of a figure, the parts of a difference."""
    values, gaps = [cell.value for cell in cells], [cell.difference for cell in cells]
    if any(value is not None for value in values):
        yield f"{key}_mean", [_number(value.mean) if value else "" for value in values]
        yield f"{key}_std", [_number(value.std) if value else "" for value in values]
        if any(cell.counted for cell in cells):
            yield f"{key}_n", [value.n if value else "" for value in values]
    if any(gap is not None for gap in gaps):
        prefix = key if key == "difference" else f"{key}_difference"
        yield prefix, [_number(gap.mean) if gap else "" for gap in gaps]
        yield f"{prefix}_low", [_number(gap.low) if gap else "" for gap in gaps]
        yield f"{prefix}_high", [_number(gap.high) if gap else "" for gap in gaps]
        yield f"{prefix}_pairs", [gap.n if gap else "" for gap in gaps]
        yield f"{prefix}_p", [_number(gap.p) if gap else "" for gap in gaps]
        yield f"{prefix}_holm", [int(cell.star) if cell.difference else "" for cell in cells]
    if any(cell.text for cell in cells) or all(value is None for value in (*values, *gaps)):
        yield key, [cell.text for cell in cells]


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
