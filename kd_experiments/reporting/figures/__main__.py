"""`python -m kd_experiments.reporting.figures`: figures from every run; `--help` tells its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import asks_for_help, parse
from kd_experiments.errors import UserError
from kd_experiments.reporting.figures import write_figures

HELP = """python -m kd_experiments.reporting.figures [KEY=VALUE ...]

Draws every figure that the complete runs allow, as PNG and SVG below DIR/figures, and says what is missing for others.

  paths.results=DIR   where runs lie and figures go (default: results)
"""


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, also when figures are missing, or 2 for a mistake of the user."""
    if asks_for_help(arguments, HELP):
        return 0
    try:
        results = Path(parse(arguments, {"paths.results": "results"})["paths.results"])
        count, outcomes, complaints = write_figures(results)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{count} complete runs in {results / 'runs'}")
    for line in [*complaints, *map(str, outcomes)]:
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
