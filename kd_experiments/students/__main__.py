"""`python -m kd_experiments.students export ...`: a trained student as a file for use elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from kd_experiments.cli.arguments import answered, asks_for_help
from kd_experiments.errors import no_such_choice
from kd_experiments.teachers import export


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, 1 if the file does not predict the same, or 2 for a mistake of the user."""
    if asks_for_help(arguments, export.USAGE):
        return 0
    return answered(lambda: _answer(arguments), arguments)


def _answer(arguments: Sequence[str]) -> int:
    command, *given = arguments or ("",)
    if command != "export":
        raise no_such_choice("command", command, ("export",))
    return export.command(given)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
