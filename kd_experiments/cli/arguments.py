"""The `key=value` arguments of the reporting commands."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from kd_experiments import own_code
from kd_experiments.errors import UserError, did_you_mean


def asks_for_help(arguments: Sequence[str], text: str) -> bool:
    """Print `text` if somebody wants to know how."""
    if not {"-h", "--help"} & set(arguments):
        return False
    print(text, end="")
    return True


def parse(arguments: Sequence[str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Defaults overridden by `key=value` arguments; `UserError` for anything else."""
    values = dict(defaults)
    for argument in own_code.taken_from(arguments):
        key, equals, value = argument.partition("=")
        if not equals:
            raise UserError(f"{argument}: expected key=value; the keys are {', '.join(defaults)}")
        if key not in defaults:
            raise UserError(f"{key}: no such key{did_you_mean(key, defaults)} (keys: {', '.join(defaults)})")
        values[key] = os.path.expanduser(value) if key.startswith("paths.") else value
    return values
