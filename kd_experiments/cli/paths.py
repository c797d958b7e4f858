"""Paths as a person types them: `~`, and folders whose names mean something else to Hydra's grammar."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from kd_experiments import own_code

NETWORKS = ("teacher", "student", "peer")

KEYS = ("paths.results", "paths.teachers", "dataset.root", *(f"{network}.checkpoint" for network in NETWORKS))

_PLAIN = re.compile(r"[A-Za-z0-9_./+%@-]*")  # what Hydra takes for one word
_QUOTED = re.compile(r"""(['"]).*\1|\$\{.*\}""", re.DOTALL)  # by the user, or an interpolation


def readable(arguments: Sequence[str]) -> list[str]:
    """The same arguments, with `~` replaced and the values of path keys quoted where Hydra would misread them.

    In a multirun a comma separates values: there only the name of something that exists is taken as it stands.
    """
    several = bool({"-m", "--multirun"} & set(arguments))
    return [_readable(argument, several) for argument in arguments]


def imports(arguments: Sequence[str]) -> list[str]:
    """Those that name the user's own code, for a command that is printed to be typed again."""
    return [argument for argument in arguments if argument.partition("=")[0].lstrip("+") == own_code.KEY]


def _readable(argument: str, several: bool) -> str:
    key, equals, value = argument.partition("=")
    if key in NETWORKS and re.fullmatch(r"[\w:.,-]*[.:][\w:.,-]*", value):  # no choice of the group, but a factory
        return f"{key}.network={value}"
    if not equals or key.lstrip("+") not in (*KEYS, own_code.KEY):
        return argument
    if _QUOTED.fullmatch(value):
        return f"{key}={value[0]}{os.path.expanduser(value[1:])}"
    if key.lstrip("+") == own_code.KEY:
        return f"{key}=[{','.join(map(_quoted, own_code.listed(value)))}]"
    if several and not os.path.exists(os.path.expanduser(value)) and any(sign in value for sign in ",()"):
        return argument
    return f"{key}={_quoted(value)}"


def _quoted(path: str) -> str:
    """A path with `~` replaced, in quotes where Hydra would not take it for one word."""
    path = os.path.expanduser(path)
    if _PLAIN.fullmatch(path):
        return path
    # Within quotes a backslash protects a quote or another backslash before it, and a dollar an interpolation.
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", path).replace("'", r"\'").replace("${", r"\${")
    return f"'{escaped}'"
