"""`python -m kd_experiments.sweeping list|status|plan|clean`: how far everything is, what it takes, what may go."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kd_experiments.cli.arguments import answered, asks_for_help, parse
from kd_experiments.cli.paths import imports, readable
from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.sweeping.clean import clean
from kd_experiments.sweeping.listing import listing
from kd_experiments.sweeping.status import status_of_all, status_of_one

HELP = """python -m kd_experiments.sweeping list|status|plan|clean [KEY=VALUE ...]

list      every sweep: how many runs, how many are done, how long the rest takes
status    every run: done, running, or failed and why
plan      what a sweep takes: runs, hours on this machine's device (measured), disk, launcher
clean     what may go, and its size: failed and damaged runs, sweeps that began no run, teachers that no run below
          paths.results has asked; nothing that a process works on, and nothing is removed without yes=true

  paths.results=DIR   where the runs lie (default: results)
  name=SWEEP          status: of this sweep's runs alone; plan: of this sweep
  over=WORDS          status, plan: what is laid over that sweep, such as over="experiment=small/digits seed=0,1,2,3,4"
  runs=SIGNATURE,...  clean: these runs, too, such as mistyped ones
  older=DAYS          clean: every run that is older, too, and sweeps whose jobs have waited longer to begin
  start=true          plan: then run what is missing
  yes=true            clean: remove what is listed
"""
COMMANDS = ("list", "status", "plan", "clean")


def main(arguments: Sequence[str]) -> int:
    if asks_for_help(arguments, HELP):
        return 0
    return answered(lambda: _answer(arguments), arguments)


def _answer(arguments: Sequence[str]) -> int:
    command, *rest = arguments or ("list",)
    if command not in COMMANDS:
        raise no_such_choice("command", command, COMMANDS)
    one_sweep = {"name": "", "over": ""}
    own = {
        "status": one_sweep,
        "plan": {**one_sweep, "start": "false"},
        "clean": {"runs": "", "older": "", "yes": "false"},
    }
    values = parse(rest, {"paths.results": "results", **own.get(command, {})})
    results = Path(values["paths.results"])
    if command == "list":
        lines = listing(results)
    elif command == "status":
        if values["over"] and not values["name"]:
            raise UserError("over=... says what is laid over one sweep; name it, too: name=lrds_ratio")
        one, over = values["name"], _words(values["over"])
        lines = status_of_one(one, results, over, imports(rest)) if one else status_of_all(results)
    elif command == "plan":
        return _plan(values, results, imports(rest))
    else:
        named = [name for name in values["runs"].split(",") if name]
        lines = clean(results, _days(values["older"]), named, _yes(values, "yes"))
    print("\n".join(lines))
    return 0


def _words(over: str) -> list[str]:
    """What is laid over a sweep, as the words of a command."""
    try:
        return readable(["--multirun", *shlex.split(over)])[1:]
    except ValueError as error:
        raise UserError(f"over={over}: a quotation mark without another; give both") from error


def _plan(values: Mapping[str, str], results: Path, more: Sequence[str]) -> int:
    """Print it, and become the sweep where that is wanted."""
    from kd_experiments.sweeping.plan import plan  # torch takes a while to import

    if not values["name"]:
        raise UserError("name: which sweep? name=lrds_main; python -m kd_experiments.sweeping list names all")
    start = _yes(values, "start")
    made = plan(values["name"], [*_words(values["over"]), *more], results)
    print("\n".join(made.lines), flush=True)
    if start:
        os.execv(sys.executable, [sys.executable, *made.start])
    return 0


def _yes(values: Mapping[str, str], key: str) -> bool:
    if values[key] not in ("true", "false"):
        raise no_such_choice(key, values[key], ("true", "false"))
    return values[key] == "true"


def _days(text: str) -> float | None:
    if not text:
        return None
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not days >= 0:
        raise UserError(f"older={text}: expected a number of days, such as older=30")
    return days


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
