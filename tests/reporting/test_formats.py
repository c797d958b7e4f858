"""Formats: what odd characters become, and that LaTeX sets every kind of table."""

from __future__ import annotations

import csv
import io
import math
import shutil
import subprocess
from pathlib import Path

import pytest

from kd_experiments.reporting.formats import comma_separated, escape, latex, markdown
from kd_experiments.reporting.statistics import Difference, Spread
from kd_experiments.reporting.table import Cell, Column, Table, table, words

ODD = "_ % & # ~ ^ \\ $ { } < > | [x] * \" ' λ Ω ς ο Α → ← ≥ ± − – … ² é ü ☃ 中 \t \n end"


def odd_table() -> Table:
    """A table with every kind of cell, odd characters wherever there are words."""
    figures = [
        Cell(value=Spread(91.234, 0.5, 3), counted=True, reference=True),
        Cell(value=Spread(91.234, math.nan, 1), difference=Difference(-1.0, -2.0, -0.1, 3, 0.4, 0.03), star=True),
        Cell(difference=Difference(1.0, math.nan, math.nan, 1)),
        Cell(),
    ]
    columns = [Column("method", ODD, words([ODD, "*", "[1]", "–"])), Column(ODD, ODD, figures)]
    return table("odd", ODD, "sweep", columns, [ODD, "second note"], [f"{ODD}: python -m kd_experiments"])


def test_latex_is_safe() -> None:
    assert escape("a_b & 50 % #1 ~x^2 \\n {z} $") == (
        r"a\_b \& 50 \% \#1 \textasciitilde{}x\textasciicircum{}2 \textbackslash{}n \{z\} \$"
    )
    assert escape("λ → Ω, ς, Α ο") == r"$\lambda$ $\to$ $\Omega$, $\sigma$, A o"
    assert escape("☃") == "U+2603" and escape("ñ") == "ñ" and escape("ł") == "U+0142"
    text = latex(odd_table())
    missing = next(line for line in text.splitlines() if line.startswith("% missing"))
    assert missing.isascii()  # a comment, on one line
    assert r"\textbf{$-$1.00 {[}$-$2.00, $-$0.10{]}}$^{*}$" in text


def test_markdown_rows_have_as_many_cells_as_the_header() -> None:
    rows = [line for line in markdown(odd_table()).splitlines() if line.startswith("|")]
    assert len(rows) == 6
    assert {row.replace("\\|", "").count("|") for row in rows} == {3}
    assert "**−1.00 [−2.00, −0.10]**\\*" in rows[3] and rows[5].endswith("| – |")


def test_csv_has_the_parts_of_figures_and_differences() -> None:
    first, second, third, fourth = csv.DictReader(io.StringIO(comma_separated(odd_table())))
    assert first["method"] == ODD and first[f"{ODD}_mean"] == "91.234" and first[f"{ODD}_n"] == "3"
    assert second[f"{ODD}_difference_high"] == "-0.1" and second[f"{ODD}_difference_holm"] == "1"
    assert third[f"{ODD}_difference_low"] == "" and third[f"{ODD}_difference_pairs"] == "1"
    assert set(list(fourth.values())[1:]) == {""}


@pytest.mark.slow
def test_latex_compiles(tmp_path: Path) -> None:
    program = shutil.which("tectonic") or shutil.which("pdflatex")
    if program is None:
        pytest.skip("neither tectonic nor pdflatex is installed (Debian: texlive-latex-recommended)")
    lines = [r"\documentclass{article}", r"\usepackage{booktabs}", r"\usepackage{graphicx}", r"\begin{document}"]
    text = "\n".join([*lines, latex(odd_table()), r"\end{document}"])
    (tmp_path / "page.tex").write_text(text, encoding="utf-8")
    options = [] if program.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error"]
    made = subprocess.run(
        [program, *options, "page.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace"
    )
    assert made.returncode == 0, made.stdout[-3000:]
    assert (tmp_path / "page.pdf").stat().st_size > 5000
