"""`python -m kd_experiments.reporting`: tables, figures and page of every run; `--help` tells its arguments."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from kd_experiments.cli.arguments import asks_for_help, parse
from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.reporting import frame as frames
from kd_experiments.reporting.study import Study
from kd_experiments.reporting.writing import own_folder, write
from kd_experiments.sweeping.definitions import names

HELP = """python -m kd_experiments.reporting [KEY=VALUE ...]

Prints a compact table of the last sweep or setting, and makes tables, figures and one page of all runs.

  paths.results=DIR   where the runs lie (default: results); files go there too, but for the checkout's own results
                      folder to results/own, so that what is committed stays as it is
  csv=FILE            a table of runs that this wrote, such as results/runs.csv; alone, or with paths.results both
  source=wandb        runs that were sent to Weights & Biases instead
    project=PROJECT   of which project (default: kd_experiments)
    entity=ENTITY     of which user or team (default: yours)
  out=DIR             where files go (default: beside the runs)
  write=all           also tables, figures, page, or nothing: the compact table alone
  sweep=NAME          also the table of this sweep, however little of it is there
  reference=METHOD    differences to this method (default: kd, or without it none)
  latex=true          also LaTeX of every table, for a paper and (-full) for its supplement; latex=NAME: of one table
  cost=true           also tables of time and memory: say so only of a machine that did nothing else
"""
DEFAULTS = {
    "paths.results": "", "csv": "", "source": "local", "project": "kd_experiments", "entity": "", "out": "",
    "write": "all", "sweep": "", "reference": "", "latex": "", "cost": "false",
}  # fmt: skip
ALL = ("tables", "figures", "page")
WRITE: dict[str, tuple[str, ...]] = {"all": ALL, **{name: (name,) for name in ALL}, "nothing": ()}


def main(arguments: Sequence[str]) -> int:
    """Exit code 0, or 2 for a mistake of the user."""
    if asks_for_help(arguments, HELP):
        return 0
    try:
        values = parse(arguments, DEFAULTS)
        _check(values)
        report(values)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def report(values: Mapping[str, str]) -> None:
    """Read, print, write."""
    local = Path(values["paths.results"] or "results") if values["paths.results"] or not values["csv"] else None
    if values["source"] == "wandb":
        from kd_experiments.reporting.wandb_source import project_runs

        frame, place = project_runs(values["entity"] or None, values["project"])
        local = local or Path("results")
        results = None
    else:
        frame = frames.runs(local, values["csv"] or None)
        place, results = " and ".join(str(one) for one in (local and local / "runs", values["csv"]) if one), local
    _tell(frame, place)
    study = Study(frame, values["sweep"], _known_method(frame, values["reference"]))
    print("\n".join(["", *study.last()]))
    folder = Path(values["out"]) if values["out"] else own_folder(local) if local else Path(values["csv"]).parent
    committed = bool(values["csv"]) and local is None
    if WRITE[values["write"]] and (len(frame) or committed):
        written = write(study, folder, results, WRITE[values["write"]], values["latex"], values["cost"] == "true")
        print(f"\n{len(study.tables)} tables, {len(written)} files below {folder} (runs {study.digest})")
        print(_first(written))


def _check(values: Mapping[str, str]) -> None:
    for key, known in {"source": ("local", "wandb"), "write": tuple(WRITE), "cost": ("true", "false")}.items():
        if values[key] not in known:
            raise no_such_choice(key, values[key], known)
    if values["sweep"] and values["sweep"] not in names():
        raise no_such_choice("sweep", values["sweep"], names())


def _known_method(frame: pd.DataFrame, reference: str) -> str:
    known = {str(label) for label in frame["method"].dropna()}
    if reference and reference not in known:
        raise no_such_choice("reference", reference, known)
    return reference


def _tell(frame: pd.DataFrame, place: str) -> None:
    """How many runs there are, and what could not be read."""
    counts = frame["status"].value_counts().sort_index()
    print(f"runs in {place}: {', '.join(f'{count} {status}' for status, count in counts.items()) or 'none'}")
    for line in frame.attrs[frames.LEFT_OUT]:
        print(f"left out: {line}")


def _first(written: Sequence[Path]) -> str:
    """What to open."""
    for ending in ("index.html", "README.md"):
        for path in written:
            if path.name == ending:
                return f"open {path}"
    return str(written[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
