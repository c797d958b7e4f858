"""`python -m kd_experiments.reporting.figures [paths.results=DIR]`: figures from every run in DIR."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.errors import UserError
from kd_experiments.reporting.arguments import parse
from kd_experiments.reporting.figures import write_figures


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, also when figures are missing, or 2 for a mistake of the user."""
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
