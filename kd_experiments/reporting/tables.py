"""Every table that the records below a results folder allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kd_experiments.reporting.comparison import REFERENCES, accuracy_table, compare, cost_table
from kd_experiments.reporting.ranks import rank_tables
from kd_experiments.reporting.records import Run, read_runs, settings
from kd_experiments.reporting.sweep_filter import promising
from kd_experiments.reporting.sweep_tables import sweep_tables
from kd_experiments.reporting.table import Table
from kd_experiments.sweeping import definitions as catalogue


def all_tables(results: Path) -> list[Table]:
    """Tables of the runs below `results`, as `make tables` writes them: of sweeps, of settings, and average ranks."""
    return tables_of(read_runs(results).runs, results)


def tables_of(runs: Sequence[Run], results: Path) -> list[Table]:
    """Tables of some runs; what is known of sweeps is kept below `results`."""
    found = settings(runs)
    made = [
        one for name in promising(catalogue.names(), found) for one in sweep_tables(catalogue.read(name, results), runs)
    ]
    comparisons = [compare(setting, REFERENCES) for setting in found]
    made += [make(comparison) for comparison in comparisons for make in (accuracy_table, cost_table)]
    return made + rank_tables(comparisons)
