"""Names and messages of others, written where they could mean more than text: spreadsheets, Markdown, terminals."""

from __future__ import annotations

import re

_FORMULA = ("=", "+", "-", "@")


def plain(text: str) -> str:
    """One line without control characters, which a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)


def csv_cell(value: object) -> object:
    """A cell of a CSV file that no spreadsheet takes for a formula: text that begins like one gets a quote before it.

    Numbers stay numbers.
    """
    if not isinstance(value, str):
        return value
    text = plain(value)
    is_number = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) is not None
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not is_number else text


def markdown(text: str) -> str:
    """Text inside a Markdown table or line, neither markup nor HTML."""
    escaped = re.sub(r"([\\|*_`\[\]])", r"\\\1", plain(text))
    return " ".join(escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
