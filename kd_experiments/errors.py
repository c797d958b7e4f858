"""Mistakes of the user, told in one clear sentence."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What is wrong, where, and what to type instead. Ends the program with exit code 2 and no traceback."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`"; did you mean X?"` for the nearest known word, or nothing when none is near."""
    known = list(known)
    lowered = {name.lower(): name for name in known}
    near = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.6)
    if not near:  # the last part of a dotted key is often what was mistyped
        tails = {name.rsplit(".", 1)[-1].lower(): name for name in known}
        near = difflib.get_close_matches(word.rsplit(".", 1)[-1].lower(), tails, n=1, cutoff=0.6)
        return f"; did you mean {tails[near[0]]}?" if near else ""
    return f"; did you mean {lowered[near[0]]}?"


def no_such_choice(what: str, given: str, choices: Iterable[str]) -> UserError:
    """The error for a name outside a closed set of choices."""
    choices = sorted(choices)
    listed = f"choices: {', '.join(choices)}" if choices else "there are none yet"
    near = did_you_mean(given[:100], choices)
    return UserError(f"{what}={shortened(given)}: no such choice{near} ({listed})")


def shortened(value: object, length: int = 80) -> str:
    """A value as text that a message can hold, whatever was typed."""
    try:
        text = str(value)
    except ValueError:  # a whole number of more than 4,300 digits
        return "a number of thousands of digits"
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= length else f"{text[:length]}..."
