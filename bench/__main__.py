"""`python -m bench [--quick] [NAME ...]`: measure, one JSON line a figure on standard output, a table at the end."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
import traceback

from bench import epoch, influence, input, live, memory, methods, one_teacher, processes, start, whole_run
from bench.measurement import here
from bench.tables import write
from kd_experiments.cli import layers
from kd_experiments.places import PACKAGE

GROUPS = {
    "epoch": epoch,
    "whole_run": whole_run,
    "one_teacher": one_teacher,
    "influence": influence,
    "input": input,
    "memory": memory,
    "start": start,
    "methods": methods,
    "live": live,
    "processes": processes,
}


def main() -> int:
    """Exit code 1 if a group could not be measured; a missed target is a result, not a failure."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="How fast the suite is, as ratios.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which figures: {', '.join(GROUPS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="less of everything, to see that it works")
    parser.add_argument("--turns", type=int, help="so many repetitions of each figure: more on a busy machine")
    parser.add_argument("--methods", default="", metavar="A,B", help="of the figures of methods only these")
    given = parser.parse_args()
    if unknown := set(given.names) - set(GROUPS):
        parser.error(f"{', '.join(sorted(unknown))}: no such figure; choose from {', '.join(GROUPS)}")
    if given.turns is not None and given.turns < 1:
        parser.error(f"--turns={given.turns}: must be at least 1")
    wanted = given.methods.split(",") if given.methods else []
    if unknown := set(wanted) - set(layers.choices("method")):
        parser.error(f"--methods: {', '.join(sorted(unknown))}: no such method; see conf/method/")
    names = given.names or list(GROUPS)
    setting = here(given.quick, given.turns, wanted)
    lines: list[str] = []
    failed = []
    for name in names:
        started = time.perf_counter()
        try:
            for figure in GROUPS[name].figures(setting):
                lines.append(figure.line(setting))
                print(lines[-1], flush=True)
        except Exception:
            traceback.print_exc()
            failed.append(name)
        print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    folder = PACKAGE.parent / "results" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    print(write([json.loads(line) for line in lines]), file=sys.stderr)
    print(f"kept in {path}; python -m bench.tables {path} prints these tables again", file=sys.stderr)
    if failed:
        print(f"error: not measured: {', '.join(failed)}; see the tracebacks above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
