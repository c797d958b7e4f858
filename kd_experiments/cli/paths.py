"""Paths as a person types them: `~`, and folders whose names mean something else to Hydra's grammar."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

KEYS = ("paths.results", "paths.teachers", "dataset.root", "teacher.checkpoint")

NETWORKS = ("teacher", "student", "peer")

_PLAIN = re.compile(r"[A-Za-z0-9_./+%@-]*")  # what Hydra takes for one word
_QUOTED = re.compile(r"""(['"]).*\1|\$\{.*\}""", re.DOTALL)  # by the user, or an interpolation


def readable(arguments: Sequence[str]) -> list[str]:
    """The same arguments, with `~` replaced and the values of path keys quoted where Hydra would misread them.

    In a multirun a comma separates values: there only the name of something that exists is taken as it stands.
    """
    several = bool({"-m", "--multirun"} & set(arguments))
    return [_readable(argument, several) for argument in arguments]


def _readable(argument: str, several: bool) -> str:
    key, equals, value = argument.partition("=")
    if key in NETWORKS and re.fullmatch(r"[\w:.,-]*[.:][\w:.,-]*", value):  # no choice of the group, but a factory
        return f"{key}.network={value}"
    if not equals or key.lstrip("+") not in KEYS or _QUOTED.fullmatch(value):
        return argument
    path = os.path.expanduser(value)
    if _PLAIN.fullmatch(path):
        return f"{key}={path}"
    if several and not os.path.exists(path) and any(sign in value for sign in ",()"):
        return argument
    # Within quotes a backslash protects a quote or another backslash before it, and a dollar an interpolation.
    escaped = re.sub(r"(\\+)(?='|$)", r"\1\1", path).replace("'", r"\'").replace("${", r"\${")
    return f"{key}='{escaped}'"
