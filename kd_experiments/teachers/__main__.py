"""`python -m kd_experiments.teachers export ...`: a trained network as a public checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.reporting.arguments import parse
from kd_experiments.teachers.export import USAGE, export


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, or 2 for a mistake of the user."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return 0
    try:
        for line in run(arguments):
            print(line)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: Sequence[str]) -> list[str]:
    """Do what the arguments say and return the lines to show."""
    command, *named = [argument for argument in arguments if "=" not in argument] or [""]
    if command != "export":
        raise UserError(f"{command or 'no command'}: give the command export{did_you_mean(command, ['export'])}")
    values = parse([argument for argument in arguments if "=" in argument], {"out": "", "paths.results": "results"})
    if len(named) != 1:
        raise UserError(f"export: give one signature or folder, not {len(named)} (--help shows how)")
    if not values["out"]:
        raise UserError("export: give out=FILE, the file to write")
    return export(named[0], Path(values["out"]), Path(values["paths.results"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
