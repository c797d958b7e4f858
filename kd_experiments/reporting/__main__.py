"""`python -m kd_experiments.reporting`: tables of every run; `--help` tells its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import asks_for_help, parse
from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.reporting.comparison import accuracy_table, compare
from kd_experiments.reporting.formats import comma_separated, latex, markdown
from kd_experiments.reporting.records import Records, Run, read_runs, settings
from kd_experiments.reporting.table import Table
from kd_experiments.reporting.tables import tables_of

HELP = """python -m kd_experiments.reporting [KEY=VALUE ...]

Makes tables of all complete runs, as Markdown, LaTeX (booktabs) and CSV below DIR/tables, and prints the Markdown:
one for each sweep of which a run is there, one for each setting, with the costs of each apart, and average ranks.

  paths.results=DIR   where runs lie and tables go (default: results)
  reference=METHOD    print the tables of settings with differences to this method; writes nothing
                      (otherwise they are to kd, or without kd to none)
  source=local        read the records in DIR/runs (default)
  source=wandb        read runs that were sent to Weights & Biases; prints and writes nothing
    project=PROJECT   of which project (default: kd_experiments)
    entity=ENTITY     of which user or team (default: yours)
"""
DEFAULTS = {"paths.results": "results", "reference": "", "source": "local", "entity": "", "project": "kd_experiments"}


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 for a mistake of the user."""
    if asks_for_help(arguments, HELP):
        return 0
    try:
        values = parse(arguments, DEFAULTS)
        results = Path(values["paths.results"])
        if values["source"] == "local":
            found, place = read_runs(results), str(results / "runs")
        elif values["source"] == "wandb":
            from kd_experiments.reporting.wandb_source import read_project

            found, place = read_project(values["entity"] or None, values["project"])
        else:
            raise no_such_choice("source", values["source"], ("local", "wandb"))
        _tell(found, place)
        if values["reference"]:
            show_reference(found.runs, values["reference"])
        elif values["source"] == "wandb":
            for table in tables_of(found.runs, results):
                print(f"\n{markdown(table)}")
        elif found.runs:
            write_tables(tables_of(found.runs, results), results / "tables")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def show_reference(runs: Sequence[Run], reference: str) -> None:
    """Print the Markdown of every setting in which the method `reference` was run, with differences to it."""
    known = {run.method for run in runs}
    if reference not in known:
        raise no_such_choice("reference", reference, known)
    for setting in settings(runs):
        if any(run.method == reference for run in setting.runs):
            print(f"\n{markdown(accuracy_table(compare(setting, [reference]), [reference]))}")


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write `NAME.{md,tex,csv}` of every table and an index, and print the Markdown; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for table in tables:
        page = markdown(table)
        for ending, text in (("md", page), ("tex", latex(table)), ("csv", comma_separated(table))):
            path = folder / f"{table.name}.{ending}"
            path.write_text(text, encoding="utf-8")
            written.append(path)
        print(f"\n{page}")
        print(f"written: {folder / table.name}.md, .tex, .csv")
    index = folder / "README.md"
    index.write_text(contents(tables), encoding="utf-8")
    left = sorted({path.stem for path in folder.glob("*.csv")} - {table.name for table in tables})
    print(f"index: {index}")
    if left:
        print(f"not written this time, from other runs or an older version, and left alone: {', '.join(left)}")
    return [*written, index]


def contents(tables: Sequence[Table]) -> str:
    """The index of a folder of tables, in Markdown."""
    headings = {
        "sweep": "Sweeps",
        "setting": "All methods of a setting",
        "rank": "Average ranks over settings",
        "cost": "Cost, on the machines named",
    }
    lines = ["# Tables", "", "Written by `python -m kd_experiments.reporting`; each also as LaTeX and CSV."]
    for kind, heading in headings.items():
        of_kind = [table for table in tables if table.kind == kind]
        if of_kind:
            lines += ["", f"## {heading}", "", *(f"- [{table.title}]({table.name}.md)" for table in of_kind)]
    return "\n".join(lines) + "\n"


def _tell(found: Records, place: str) -> None:
    """How many runs there are, what could not be read, and what to do where there is none."""
    counted = ", ".join(f"{count} {status}" for status, count in sorted(found.statuses.items())) or "none"
    print(f"runs in {place}: {counted}")
    for line in found.complaints:
        print(line)
    if not found.runs:
        print("no complete run yet; make some with: python -m kd_experiments --multirun method=none,kd,lrds seed=0,1,2")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
