"""How long something takes, in words; imports nothing."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """For a person: `40 s`, `12 min`, `3.5 h` or `2.1 days`."""
    for unit, size, places in (("days", 86400, 1), ("h", 3600, 1), ("min", 60, 0)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{places}f} {unit}"
    return f"{seconds:.0f} s"


def counted(number: int, noun: str) -> str:
    """`1 table`, `2 tables`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
