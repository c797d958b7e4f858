"""A comparison as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from kd_experiments.reporting.comparison import PRIMARY, Comparison, Row
from kd_experiments.reporting.statistics import Difference, Spread

_COLUMNS = (
    (PRIMARY, "top-1, last epoch (%)", 2),
    ("test_top1_best_val", "top-1, best on val (%)", 2),
    ("test_top1_best_test", "top-1, best test epoch, optimistic (%)", 2),
    ("test_top5_last", "top-5 (%)", 2),
    ("test_nll_last", "NLL", 3),
    ("test_ece_last", "ECE (%)", 2),
    ("test_agreement_last", "agrees with teacher (%)", 1),
    ("test_inherited_errors_last", "inherited errors (%)", 1),
    ("peer_test_top1_last", "peer, top-1 (%)", 2),
    ("mean_test_top1_last", "mean of both, top-1 (%)", 2),
    ("clean_fit_last", "clean labels fitted (%)", 1),
    ("wrong_fit_last", "wrong labels fitted (%)", 1),
    ("correction_last", "wrong labels corrected (%)", 1),
    ("selected_share", "selected (%)", 0),
    ("revised_share", "revised (%)", 2),
    ("train_seconds", "training (s)", 0),
    ("images_per_second", "images/s", 0),
)


@dataclass(frozen=True)
class Symbols:
    """How one format writes what is not a plain word."""

    plus_minus: str
    minus: str
    bold: tuple[str, str]
    nothing: str


MARKDOWN = Symbols("±", "−", ("**", "**"), "–")
LATEX = Symbols(r"$\pm$", "$-$", (r"\textbf{", "}"), "--")


def header(table: Comparison) -> list[str]:
    difference = f"difference to {table.reference} [95 %]" if table.reference else "difference"
    columns = [title for name, title, _ in _shown(table)]
    return ["method", "n", columns[0], difference, *columns[1:]]


def cells(table: Comparison, symbols: Symbols) -> list[list[str]]:
    """All rows as text, the teacher's first."""
    rows = [_teacher_cells(table, symbols)] if table.teacher else []
    for row in table.rows:
        figures = [_spread(row.figures.get(name), digits, symbols) for name, _, digits in _shown(table)]
        difference = _difference(row, table, symbols)
        rows.append([row.label, str(len(row.seeds)), figures[0], difference, *figures[1:]])
    return rows


def markdown(table: Comparison) -> str:
    """A Markdown page of one table: title, setting, table, notes."""
    lines = [f"# {table.title}", "", *_line(header(table)), _rule(len(header(table)))]
    for row in cells(table, MARKDOWN):
        lines += _line(row)
    lines += ["", *_explanation(table)]
    if table.notes:
        lines += ["", "Missing:", "", *(f"- {note}" for note in table.notes)]
    return "\n".join(lines) + "\n"


def latex(table: Comparison) -> str:
    """A LaTeX table for booktabs."""
    titles = header(table)
    lines = [
        r"% needs \usepackage{booktabs} and, for its width, \usepackage{graphicx}",
        r"\begin{table}",
        rf"  \caption{{{escape(table.title)}. {escape(' '.join(_explanation(table)))}}}",
        r"  \resizebox{\linewidth}{!}{%",
        rf"  \begin{{tabular}}{{l{'r' * (len(titles) - 1)}}}",
        r"    \toprule",
        f"    {' & '.join(map(escape, titles))} \\\\",
        r"    \midrule",
    ]
    for row in cells(table, LATEX):
        lines.append(f"    {' & '.join([escape(row[0]), *row[1:]])} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}}", r"\end{table}"]) + "\n"


def comma_separated(table: Comparison) -> str:
    """Every figure of every row in full precision: mean, sample standard deviation and n apart."""
    names = sorted({name for row in table.rows for name in row.figures})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    difference = ["reference", "difference", "difference_low", "difference_high", "difference_pairs"]
    writer.writerow(["method", "seeds", *difference, *(f"{name}_{part}" for name in names for part in ("mean", "std"))])
    if table.teacher is not None:
        teacher = {f"test_{name}_last": table.teacher.get(f"test_{name}") for name in ("top1", "top5", "nll", "ece")}
        teacher["train_top1_last"] = table.teacher["train_top1"]
        values = [value for name in names for value in (_number(teacher.get(name)), "")]
        writer.writerow([f"teacher {table.teacher['network']}", "", *[""] * 5, *values])
    for row in table.rows:
        found = row.difference
        gap = [table.reference, found.mean, found.low, found.high, found.n] if found else [""] * 5
        figures = [row.figures.get(name, Spread(math.nan, math.nan, 0)) for name in names]
        values = [value for figure in figures for value in (figure.mean, figure.std)]
        writer.writerow([row.label, " ".join(map(str, row.seeds)), *map(_number, gap), *map(_number, values)])
    return text.getvalue()


def escape(text: str) -> str:
    """LaTeX-safe text."""
    for character in "&%$#_{}":
        text = text.replace(character, "\\" + character)
    return text.replace("→", r"$\to$").replace("±", r"$\pm$").replace("−", "$-$").replace("λ", r"$\lambda$")


def _shown(table: Comparison) -> list[tuple[str, str, int]]:
    return [
        (name, title, digits)
        for name, title, digits in _COLUMNS
        if name == PRIMARY or any(name in row.figures for row in table.rows)
    ]


def _spread(figure: Spread | None, digits: int, symbols: Symbols) -> str:
    if figure is None or figure.n == 0:
        return symbols.nothing
    mean = f"{figure.mean:.{digits}f}"
    return mean if math.isnan(figure.std) else f"{mean} {symbols.plus_minus} {figure.std:.{digits}f}"


def _difference(row: Row, table: Comparison, symbols: Symbols) -> str:
    if row.label == table.reference:
        return "reference"
    found = row.difference
    if found is None:
        return symbols.nothing
    text = _signed(found.mean, symbols)
    if not math.isnan(found.low):
        text += f" [{_signed(found.low, symbols)}, {_signed(found.high, symbols)}]"
    return f"{symbols.bold[0]}{text}{symbols.bold[1]}" if _counts(found) else text


def _counts(found: Difference) -> bool:
    return not math.isnan(found.low) and found.excludes_zero


def _signed(value: float, symbols: Symbols) -> str:
    return f"{value:+.2f}".replace("-", symbols.minus)


def _teacher_cells(table: Comparison, symbols: Symbols) -> list[str]:
    teacher = table.teacher
    assert teacher is not None
    known = {
        PRIMARY: "test_top1",
        "test_top5_last": "test_top5",
        "test_nll_last": "test_nll",
        "test_ece_last": "test_ece",
        "train_seconds": "train_seconds",
    }
    figures = [
        f"{teacher[known[name]]:.{digits}f}" if name in known and teacher[known[name]] is not None else symbols.nothing
        for name, _, digits in _shown(table)
    ]
    return [f"teacher {teacher['network']}", "1", figures[0], symbols.nothing, *figures[1:]]


def _explanation(table: Comparison) -> list[str]:
    seeds = sorted({seed for row in table.rows for seed in row.seeds})
    lines = [f"Mean ± sample standard deviation over n seeds ({', '.join(map(str, seeds))})."]
    if table.reference:
        lines.append(
            f"Differences to {table.reference} are paired by seed, with Student's 95 % interval; "
            f"bold where it excludes 0."
        )
    if table.teacher is not None:
        teacher = table.teacher
        lines.append(
            f"The teacher has {teacher['train_top1']:.2f} % on the training images, "
            f"{teacher['train_wrong']} of {teacher['train_size']} wrong."
        )
    return lines


def _line(row: Sequence[str]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"]


def _rule(columns: int) -> str:
    return "|" + "|".join([" --- "] + [" ---: "] * (columns - 1)) + "|"


def _number(value: object) -> object:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else value
