"""`python -m kd_experiments.reporting [paths.results=DIR]`: tables of every run, below DIR/tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.errors import UserError
from kd_experiments.reporting.arguments import parse
from kd_experiments.reporting.comparison import comparisons
from kd_experiments.reporting.formats import comma_separated, latex, markdown
from kd_experiments.reporting.records import read_runs


def main(arguments: Sequence[str]) -> int:
    try:
        write_tables(Path(parse(arguments, {"paths.results": "results"})["paths.results"]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


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
