"""The figures of a record that tables show, what they are called there, and with how many decimals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kd_experiments.reporting.records import PRIMARY, Run
from kd_experiments.reporting.statistics import Spread
from kd_experiments.reporting.table import Cell


@dataclass(frozen=True)
class Figure:
    """One figure of `Run.figures()`."""

    key: str
    title: str
    digits: int

    def cell(self, found: Spread | None, counted: bool = False) -> Cell:
        if found is None or found.n == 0:
            return Cell()
        return Cell(value=found, digits=self.digits, counted=counted)


LAST = Figure(PRIMARY, "top-1, last epoch (%)", 2)
BEST_VAL = Figure("test_top1_best_val", "top-1, best on val (%)", 2)
BEST_TEST = Figure("test_top1_best_test", "top-1, best test epoch, optimistic (%)", 2)
ACCURACY = (
    LAST,
    BEST_VAL,
    BEST_TEST,
    Figure("test_top5_last", "top-5 (%)", 2),
    Figure("test_nll_last", "NLL", 3),
    Figure("test_ece_last", "ECE (%)", 2),
    Figure("test_agreement_last", "agrees with teacher (%)", 1),
    Figure("test_inherited_errors_last", "inherited errors (%)", 1),
    Figure("peer_test_top1_last", "peer, top-1 (%)", 2),
    Figure("mean_test_top1_last", "mean of both, top-1 (%)", 2),
    Figure("clean_fit_last", "clean labels fitted (%)", 1),
    Figure("wrong_fit_last", "wrong labels fitted (%)", 1),
    Figure("correction_last", "wrong labels corrected (%)", 1),
    Figure("selected_share", "selected (%)", 0),
    Figure("revised_share", "revised (%)", 2),
)
COST = (
    Figure("train_seconds", "training (s)", 1),
    Figure("images_per_second", "images/s", 0),
    Figure("peak_memory_mib", "peak memory (MiB)", 0),
    Figure("peak_device_memory_mib", "peak device memory (MiB)", 0),
)
_TIMED = {figure.key for figure in COST}


def present(figures: Iterable[Figure], found: Iterable[Mapping[str, Spread]]) -> list[Figure]:
    """Those of the figures that anyone measured."""
    measured = {name for one in found for name in one}
    return [figure for figure in figures if figure.key in measured]


def unshown(found: Sequence[Mapping[str, Spread]], shown: Sequence[str]) -> dict[str, list[Cell]]:
    """Figures of accuracy and the like that a table has no room for, a cell a row; time is never among them."""
    names = sorted({name for one in found for name in one} - _TIMED - set(shown))
    return {name: [Figure(name, name, 6).cell(one.get(name)) for one in found] for name in names}


def machine(runs: Iterable[Run]) -> str:
    """Where runs were computed: device, its threads, and how many runs had it."""
    counts: dict[str, int] = {}
    for run in runs:
        known = run.record.get("environment") or {}
        name = str(known.get("device_name", known.get("device", "unknown")))
        text = (
            name
            if known.get("threads") is None
            else f"{name}, {known['threads']} thread" + "s" * (known["threads"] != 1)
        )
        counts[text] = counts.get(text, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return "; ".join(text if len(counts) == 1 else f"{text} ({count})" for text, count in ordered)
