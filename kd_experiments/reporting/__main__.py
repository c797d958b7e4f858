"""`python -m kd_experiments.reporting [paths.results=DIR] [reference=METHOD]`: tables of every run, below DIR/tables.

Differences are to KD, or without KD to the baseline; with `reference`, to that method, and nothing is written.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.reporting.arguments import parse
from kd_experiments.reporting.comparison import comparisons
from kd_experiments.reporting.formats import comma_separated, latex, markdown
from kd_experiments.reporting.records import read_runs


def main(arguments: Sequence[str]) -> int:
    try:
        values = parse(arguments, {"paths.results": "results", "reference": ""})
        results = Path(values["paths.results"])
        if values["reference"]:
            show_tables(results, values["reference"])
        else:
            write_tables(results)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def show_tables(results: Path, reference: str) -> None:
    """Print the Markdown of every setting in which the method `reference` was run, with differences to it."""
    runs, _ = read_runs(results)
    known = {run.method for run in runs}
    if reference not in known:
        raise no_such_choice("reference", reference, known)
    for table in comparisons(runs, [reference]):
        if table.reference is not None:
            print(markdown(table))


def write_tables(results: Path) -> list[Path]:
    """Write `tables/NAME.{md,tex,csv}` for every setting and print the Markdown; returns the files."""
    runs, statuses = read_runs(results)
    counted = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items())) or "none"
    print(f"runs in {results / 'runs'}: {counted}")
    if not runs:
        print("no complete run yet; make some with: python -m kd_experiments --multirun method=none,kd,lrds seed=0,1,2")
        return []
    folder = results / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in comparisons(runs):
        for ending, text in (("md", markdown(table)), ("tex", latex(table)), ("csv", comma_separated(table))):
            path = folder / f"{table.name}.{ending}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
        print()
        print(markdown(table))
        print(f"written: {folder / table.name}.md, .tex, .csv")
    return written


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
