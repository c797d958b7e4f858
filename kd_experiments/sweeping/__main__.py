"""`python -m kd_experiments.sweeping list|status`: how far everything is; `--help` tells the arguments."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import asks_for_help, parse
from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.sweeping.listing import listing
from kd_experiments.sweeping.status import status_of_all, status_of_one

HELP = """python -m kd_experiments.sweeping list|status [KEY=VALUE ...]

list      every sweep: how many runs, how many are done, how long the rest takes
status    every run: done, running, or failed and why

  paths.results=DIR   where the runs lie (default: results)
  name=SWEEP          status of this sweep's runs alone
"""


def main(arguments: Sequence[str]) -> int:
    if asks_for_help(arguments, HELP):
        return 0
    try:
        print("\n".join(_answer(arguments)))
        sys.stdout.flush()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def _answer(arguments: Sequence[str]) -> list[str]:
    command, *rest = arguments or ("list",)
    if command == "list":
        return listing(Path(parse(rest, {"paths.results": "results"})["paths.results"]))
    if command == "status":
        values = parse(rest, {"paths.results": "results", "name": ""})
        results = Path(values["paths.results"])
        return status_of_one(values["name"], results) if values["name"] else status_of_all(results)
    raise no_such_choice("command", command, ("list", "status"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
