"""Tables of sweeps: rows, columns, reference, what is missing, and which sweeps are looked at."""

from __future__ import annotations

import csv
import io
import itertools
from functools import cache
from typing import Any

import pytest

from kd_experiments.reporting.formats import comma_separated, markdown
from kd_experiments.reporting.records import Run, as_run, settings
from kd_experiments.reporting.sweep_filter import promising
from kd_experiments.reporting.sweep_tables import sweep_tables
from kd_experiments.reporting.table import Table
from kd_experiments.sweeping import definitions as catalogue
from kd_experiments.sweeping.definitions import Job, Sweep, TableLayout
from tests.conftest import composed

# host -> plug-in -> top-1 by seed
MATRIX = {
    "kd": {"none": (90.0, 91.0, 92.0), "lrds": (92.0, 93.1, 93.9), "la": (90.1, 90.9, 92.2)},
    "dkd": {"none": (93.0, 94.0, 95.0), "lrds": (93.5, 95.0, 94.9), "la": (92.0, 93.0, 94.1)},
}


@cache
def config() -> dict[str, Any]:
    return composed()


def run(signature: str, seed: int, top1: float) -> Run:
    metrics = {"test_top1_last": top1, "test_top1_best_val": top1 - 0.5, "test_top1_best_test": top1 + 0.5}
    timing = {"train_seconds": 10.0 * top1, "images_per_second": 1.0, "peak_memory_bytes": 2.0**21}
    return as_run(
        {
            "signature": signature,
            "seed": seed,
            "config": config(),
            "teacher": None,
            "metrics": metrics,
            "timing": timing,
        }
    )


def sweep(
    rows: tuple[str, ...] = ("method",), columns: tuple[str, ...] = ("plug_in",), **reference: str
) -> tuple[Sweep, list[Run]]:
    jobs, runs = [], []
    for seed, (host, cells) in itertools.product(range(3), MATRIX.items()):
        for plug_in, values in cells.items():
            signature = f"{host} {plug_in} {seed}"
            jobs.append(Job({"seed": str(seed), "method": host, "plug_in": plug_in}, signature))
            runs.append(run(signature, seed, values[seed]))
    return Sweep("small/plug", "Plug-ins", "", TableLayout(rows, columns, reference), tuple(jobs)), runs


def lines(table: Table) -> dict[str, list[str]]:
    """The Markdown rows by their label, without it."""
    found = [line.strip("| ").split(" | ") for line in markdown(table).splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in found}


def test_a_matrix_shows_each_cell_and_its_difference_to_the_reference() -> None:
    accuracy, cost = sweep_tables(*sweep(plug_in="none"))
    shown = lines(accuracy)
    assert (accuracy.name, cost.name) == ("small-plug", "small-plug-cost")
    assert shown["method \\\\ plug_in"] == ["none", "lrds", "la"]
    assert shown["kd"][0] == "91.00 ± 1.00 (3)"
    assert shown["kd"][1] == "93.00 ± 0.95 (3) **+2.00 [+1.75, +2.25]**\\*"  # differences 2, 2.1, 1.9
    assert shown["dkd"][1].endswith("+0.47 [−0.90, +1.83]")  # .5, 1, -.1
    assert shown["average rank"] == ["2.50", "1.00", "2.50"]
    assert "over the 4 differences" in markdown(accuracy) and not accuracy.missing
    row = next(csv.DictReader(io.StringIO(comma_separated(accuracy))))
    assert float(row["lrds_difference_low"]) == pytest.approx(2 - 4.302653 * 0.1 / 3**0.5, rel=1e-4)
    assert float(row["lrds test_top1_best_test_mean"]) == pytest.approx(93.5) and row["lrds_difference_holm"] == "1"


def test_cells_may_be_compared_along_the_rows() -> None:
    shown = lines(sweep_tables(*sweep(method="kd"))[0])
    assert shown["method \\\\ plug_in"] == ["none", "lrds", "la", "average rank"]
    assert "+3.00" in shown["dkd"][0] and "+" not in shown["kd"][0]
    assert (shown["kd"][-1], shown["dkd"][-1]) == ("2.00", "1.00")


def test_without_columns_each_statistic_has_its_own() -> None:
    full, runs = sweep()
    jobs = tuple(job for job in full.jobs if job.overrides["plug_in"] == "none")
    layout = TableLayout(("method",), (), {"method": "kd"})
    (accuracy, _) = sweep_tables(Sweep("methods", "Methods", "A paper", layout, jobs), runs)
    assert list(accuracy.keys) == [
        "method", "n", "test_top1_last", "difference", "test_top1_best_val", "test_top1_best_test",
    ]  # fmt: skip
    shown = lines(accuracy)
    assert shown["kd"] == ["3", "91.00 ± 1.00", "reference", "90.50 ± 1.00", "91.50 ± 1.00"]
    assert "Paper: A paper" in markdown(accuracy) and "difference to kd [95 %]" in accuracy.header


def test_missing_cells_name_the_command_that_fills_them() -> None:
    found, runs = sweep(plug_in="none")
    some = [run for run in runs if not run.signature.startswith("dkd la") and run.signature != "kd none 1"]
    accuracy, cost = sweep_tables(found, some)
    shown = lines(accuracy)
    assert shown["dkd"][2] == "–" and shown["kd"][0].endswith("(2)")
    assert accuracy.missing[0] == "4 of 18 runs: python -m kd_experiments --multirun +sweeps=small/plug"
    assert "1, kd, none: python -m kd_experiments +sweeps=small/plug seed=1 method=kd plug_in=none" in accuracy.missing
    assert len(accuracy.missing) == 5 and len(cost.rows) == 5
    assert len(sweep_tables(found, runs[:1])[0].missing) == 1  # of many, the whole sweep's command says it all
    assert sweep_tables(found, []) == []


def test_accuracy_does_not_depend_on_the_order_or_the_time_of_runs() -> None:
    found, runs = sweep(plug_in="none")
    slow = [as_run({**one.record, "timing": {"train_seconds": 1.0}}) for one in reversed(runs)]
    assert sweep_tables(found, slow)[0] == sweep_tables(found, runs)[0]


def test_only_sweeps_that_may_have_a_run_are_composed() -> None:
    """What a sweep's own first job is made of is promising; a run of another data set is not."""
    for name in ("small/fashion_methods", "small/fashion_noise"):
        mine = composed(f"+sweeps={name}", "method=none")
        record = {"signature": "x", "seed": 0, "config": mine, "teacher": None, "timing": {}}
        found = settings([as_run(record | {"metrics": {"test_top1_last": 1.0}})])
        assert name in promising(catalogue.names(), found)
    assert not [
        name for name in promising(catalogue.names(), settings([run("x", 0, 1.0)])) if name.startswith("small/fashion")
    ]
