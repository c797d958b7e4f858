"""Text of others stays text."""

from __future__ import annotations

import pytest

from kd_experiments import escaping


@pytest.mark.parametrize("text", ["=1+1", "+A1", "-A1", "@SUM(1)", "\t=1", "\r=1", "-", "=cmd|' /C calc'!A0"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert not str(escaping.csv_cell(text)).lstrip().startswith(("=", "+", "-", "@"))


def test_numbers_stay_numbers() -> None:
    assert [escaping.csv_cell(value) for value in ("-1.5", "+2e-3", -1.5, 3, None, "kd")] == [
        "-1.5", "+2e-3", -1.5, 3, None, "kd",
    ]  # fmt: skip


def test_markdown_holds_no_html() -> None:
    shown = escaping.markdown("<img src=x onerror=alert(1)> a|b [x](javascript:1) `c` \x1b[31m")
    assert "<" not in shown and "\x1b" not in shown and "\\|" in shown and "\\[x\\]" in shown
