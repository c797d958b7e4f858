"""`python -m kd_experiments.reporting`: tables, figures and page of every run; `--help` tells its arguments."""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from kd_experiments import files
from kd_experiments.cli.arguments import answered, asks_for_help, parse
from kd_experiments.errors import no_such_choice
from kd_experiments.reporting import frame as frames
from kd_experiments.reporting.study import Study
from kd_experiments.reporting.writing import own_folder, write
from kd_experiments.sweeping.definitions import names
from kd_experiments.tracking.words import counted

HELP = """python -m kd_experiments.reporting [KEY=VALUE ...]

Prints a compact table of the last sweep or setting, and makes tables, figures and one page of all runs.

  paths.results=DIR   where the runs lie (default: results); files go there too, but for the checkout and its results
                      folder to results/own, so that what is committed stays as it is
  csv=FILE            a table of runs that this wrote, such as results/runs.csv; alone, or with paths.results both
  source=wandb        runs that were sent to Weights & Biases instead
    project=PROJECT   of which project (default: kd_experiments); entity=ENTITY: of which user or team (default: yours)
  out=DIR             where files go (default: beside the runs, or beside csv=FILE likewise)
  write=all           also tables, figures, page, or nothing: the compact table alone
  sweep=NAME          also the table of this sweep, however little of it is there
  reference=METHOD    differences to this method (default: kd, or without it none)
  latex=true          also LaTeX of every table, below paper/, for a paper and (-full) its supplement; latex=NAME: of
                      one table, whose name is that of its CSV file; with write=nothing the LaTeX alone
  cost=true           also tables of time and memory: say so only of a machine that did nothing else
"""
DEFAULTS = {"paths.results": "", "csv": "", "source": "local", "project": "kd_experiments", "entity": "", "out": "",
    "write": "all", "sweep": "", "reference": "", "latex": "", "cost": "false",
}  # fmt: skip
ALL, DIGITS = ("tables", "figures", "page"), 7  # of measured figures, in what is published
WRITE: dict[str, tuple[str, ...]] = {"all": ALL, **{name: (name,) for name in ALL}, "nothing": ()}


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 for a mistake of the user."""
    return 0 if asks_for_help(arguments, HELP) else answered(lambda: report(parse(arguments, DEFAULTS)), arguments)


def report(values: Mapping[str, str]) -> int:
    """Read, print, write."""
    _check(values, source=("local", "wandb"), write=WRITE, cost=("true", "false"), sweep=names())
    local = Path(values["paths.results"] or "results") if values["paths.results"] or not values["csv"] else None
    if values["source"] == "wandb":
        from kd_experiments.tracking.wandb_source import project_records

        records, complaints, place = project_records(values["entity"] or None, values["project"])
        frame = frames.frame_of([frames.row_of(one, DIGITS) for one in records], complaints)
        local, results = local or Path("results"), None
    else:
        frame = frames.runs(local, values["csv"] or None, DIGITS)
        place, results = " and ".join(str(one) for one in (local and local / "runs", values["csv"]) if one), local
    counts = ", ".join(f"{count} {status}" for status, count in sorted(Counter(frame["status"]).items()))
    print(f"runs in {place}: {counts or 'none'}", *map("left out: {}".format, frame.attrs[frames.LEFT_OUT]), sep="\n")
    study = Study(frame, values["sweep"], values["reference"], results)
    _check(values, reference={str(run["method"]) for run in study.runs})
    print("", *study.last(), sep="\n")
    _check(values, latex=["true", *(table.name for table in (study.tables if values["latex"] else ()))])
    folder = Path(values["out"]) if values["out"] else own_folder(local, values["csv"])
    what = WRITE[values["write"]]
    if (what or values["latex"]) and (len(frame) or local is None):
        files.remove_old_parts(folder)
        written = write(study, folder, results, what, values["latex"], values["cost"] == "true")
        opened = [path for end in ("index.html", "README.md") for path in written if path.name == end] or written
        made = f"{counted(len(study.tables), 'table')}, {counted(len(written), 'file')}"
        print(f"\n{made} below {folder} (runs {study.digest})\nopen {opened[0]}")
    return 0


def _check(values: Mapping[str, str], **known: Collection[str]) -> None:
    for key, choices in known.items():
        if values[key] and values[key] not in choices:
            raise no_such_choice(key, values[key], choices)


if __name__ == "__main__":
    gc.set_threshold(100_000)  # ten thousand records are no garbage, however often one looks
    sys.exit(main(sys.argv[1:]))
