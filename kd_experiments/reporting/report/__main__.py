"""`python -m kd_experiments.reporting.report`: all results as one page; `--help` tells its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import asks_for_help, parse
from kd_experiments.errors import UserError
from kd_experiments.reporting.report import write_report

HELP = """python -m kd_experiments.reporting.report [KEY=VALUE ...]

Writes DIR/report/index.html, one file to open or to send: every table, the figures in DIR/figures, every run.

  paths.results=DIR   where the runs lie (default: results)
"""


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, also without any run, or 2 for a mistake of the user."""
    if asks_for_help(arguments, HELP):
        return 0
    try:
        report = write_report(Path(parse(arguments, {"paths.results": "results"})["paths.results"]))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    size = report.path.stat().st_size / 1e6
    print(f"{report.path}: {report.runs} runs, {report.tables} tables, {report.figures} figures; {size:.1f} MB")
    if not report.figures:
        print("no figures in it; draw them first with: python -m kd_experiments.reporting.figures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
