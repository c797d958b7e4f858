"""Tables: of a setting, of a sweep as its file lays it out, and of what both cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from kd_experiments.reporting.metrics import ACCURACY, COST, TOP1, Metric, number
from kd_experiments.reporting.published import TEACHER, Published, Sources, published
from kd_experiments.reporting.settings import REFERENCES, Group, Setting, compare, covers, is_method_file
from kd_experiments.reporting.statistics import Difference, Spread, holm, spread
from kd_experiments.reporting.table import Cell, Row, Table


@dataclass(frozen=True)
class Compared:
    """One condition with its difference to the reference; `star` where that stays after Holm's correction."""

    group: Group
    difference: Difference | None = None
    star: bool = False
    is_reference: bool = False
    unlike: int = 0  # pairs left out since their teachers differ


@dataclass(frozen=True)
class Comparison:
    """The conditions of one setting that its table shows."""

    setting: Setting
    rows: Sequence[Compared]
    reference: Group | None
    hidden: int = 0  # conditions that a sweep's table shows


def compare_setting(setting: Setting, reference: str = "", elsewhere: frozenset[str] = frozenset()) -> Comparison:
    """Methods as their files define them, and variants that no sweep's table shows; Holm's family is these rows.

    `elsewhere` holds the signatures of runs in tables of sweeps; `reference` is a label, by default KD or no teacher.
    """
    groups = setting.groups()
    shown = [
        group
        for group in groups
        if is_method_file(group.label) or group.label == reference or not set(group.runs["signature"]) <= elsewhere
    ]
    wanted = (reference,) if reference else REFERENCES
    base = next((group for name in wanted for group in shown if group.label == name), None)
    return Comparison(setting, against(shown, [base] * len(shown)), base, len(groups) - len(shown))


def against(groups: Sequence[Group], references: Sequence[Group | None]) -> list[Compared]:
    """Each condition compared with its reference, all of them one family of Holm's correction."""
    found = [
        (None, 0) if base is None or base is group else compare(group, base, TOP1)
        for group, base in zip(groups, references, strict=True)
    ]
    stars = holm([difference for difference, _ in found])
    return [
        Compared(group, difference, star, base is group, unlike)
        for group, base, (difference, unlike), star in zip(groups, references, found, stars, strict=True)
    ]


def setting_table(comparison: Comparison) -> Table:
    """A row a condition, below the teacher's."""
    setting, hidden = comparison.setting, comparison.hidden
    variants = [f"{hidden} variants stand in the tables of the sweeps that vary them."] if hidden else []
    return metric_table(
        setting.slug, setting.title, setting.runs, comparison.rows, comparison.reference,
        [*setting.remarks, *variants], _missing(comparison),
    )  # fmt: skip


def cost_table(table: Table, groups: Sequence[Group], metrics: Sequence[Metric] = COST) -> Table:
    """Time and memory of the same conditions, on the machines named; for a quiet machine."""
    known = [metric for metric in metrics if any(metric.key in group.runs for group in groups)]
    rows = [Row(group.label, [*(Cell(spread_text(group, m)) for m in known), Cell(_machine(group.runs))], group.title)
            for group in groups]  # fmt: skip
    figures = pd.DataFrame([{"method": group.label, **figures_of(group, known)} for group in groups])
    notes = ["Mean ± sample standard deviation over runs, on the machines named, said to be quiet by who made this."]
    heads = [*(metric.head for metric in known), "machine"]
    return Table(table.name, f"Cost, {table.title}", table.data, heads, rows, figures, f"Cost, {table.title}", notes)


def metric_table(
    name: str, title: str, runs: pd.DataFrame, rows: Sequence[Compared], reference: Group | None,
    remarks: Sequence[str], missing: Sequence[str] = (),
) -> Table:  # fmt: skip
    """Conditions with their figures of merit in columns."""
    known = [metric for metric in ACCURACY[1:] if any(_measured(row.group, metric) for row in rows)]
    sources = Sources()
    quoted = [sources.quote(_published(runs, row.group)) for row in rows]
    teacher_quote = sources.quote(published(runs, TEACHER))
    base = "" if reference is None else f"Δ {reference.title} [95 %]"
    heads = ["n", TOP1.head, *([base, "detectable Δ"] if base else []), *(["published"] if any(quoted) else [])]
    best = best_of([row.group for row in rows])
    made = []
    for row, quote in zip(rows, quoted, strict=True):
        cells = [Cell(str(row.group.n)), Cell(spread_text(row.group, TOP1), best=row.group is best)]
        if base:
            cells += [Cell(*_gap(row), clear=False, best=is_clear(row)), Cell(_detectable(row))]
        cells += [Cell(quote or "–")] * any(quoted) + [Cell(spread_text(row.group, metric)) for metric in known]
        made.append(Row(row.group.label, cells, row.group.title))
    top = teacher_row(runs, known, bool(base), teacher_quote if any(quoted) else None)
    return Table(
        name=name,
        title=title,
        data=str(runs["dataset.name"].iloc[0]),
        columns=[*heads, *(metric.head for metric in known)],
        rows=[*top, *made],
        figures=pd.DataFrame([_row_figures(row, [TOP1, *known]) for row in rows]),
        caption=f"Test top-1 (%) at the last epoch. {title}.",
        notes=[*notes_of(runs, rows, "" if reference is None else reference.title), *sources.notes(), *remarks],
        missing=missing,
        paper=tuple(place for place, head in enumerate(heads) if head in (TOP1.head, base, "published")),
    )


def _row_figures(row: Compared, metrics: Sequence[Metric]) -> dict[str, Any]:
    return {"method": row.group.label, **figures_of(row.group, metrics), **gap_figures(row)}


def figures_of(group: Group, metrics: Sequence[Metric]) -> dict[str, Any]:
    found: dict[str, Any] = {"n": group.n, "diverged": group.diverged}
    for metric in metrics:
        one = group.spread(metric)
        key = metric.key.split(".", 1)[1]
        found |= {f"{key}_mean": one.mean, f"{key}_sd": one.sd}
    return found


def gap_figures(row: Compared) -> dict[str, Any]:
    one = row.difference
    names = ("difference", "low", "high", "pairs", "p", "detectable")
    if one is None:
        return dict.fromkeys((*names, "holm"))
    values = (one.mean, one.low, one.high, one.n, one.p, one.detectable)
    return {**dict(zip(names, values, strict=True)), "holm": int(row.star)}


def spread_text(group: Group, metric: Metric) -> str:
    """`96.89 ± 0.45`, or how many runs diverged."""
    if group.diverged and metric.key.startswith("metrics."):
        return f"{group.diverged} of {group.n} diverged" if metric is TOP1 else "–"
    return of_spread(group.spread(metric), metric)


def of_spread(found: Spread, metric: Metric) -> str:
    if not found.n:
        return "–"
    return metric.text(found.mean) + ("" if math.isnan(found.sd) else f" ± {found.sd:.{metric.digits}f}")


def _gap(row: Compared) -> tuple[str, str, str]:
    """As the text, the difference and the interval of a cell."""
    if row.is_reference:
        return "reference", "", ""
    difference, interval = gap_text(row)
    return f"{difference} {interval}".strip() or "–", "", ""


def gap_text(row: Compared) -> tuple[str, str]:
    """`+0.52*` and `[+0.10, +0.94]`; an interval only where there is one."""
    one = row.difference
    if one is None:
        return "", ""
    bracket = "" if math.isnan(one.low) else f"[{number(one.low, 2, True)}, {number(one.high, 2, True)}]"
    return number(one.mean, 2, True) + "*" * row.star, bracket


def is_clear(row: Compared) -> bool:
    return row.difference is not None and row.difference.excludes_zero


def _detectable(row: Compared) -> str:
    known = row.difference is not None and not math.isnan(row.difference.detectable)
    return number(row.difference.detectable, 2) if known and row.difference is not None else "–"


def best_of(groups: Sequence[Group]) -> Group | None:
    """The highest mean, of those in which nothing diverged; no one where there is nothing to choose from."""
    means = [(group.spread(TOP1).mean, place) for place, group in enumerate(groups) if group.spread(TOP1).n]
    return groups[max(means)[1]] if len(means) > 1 else None


def _measured(group: Group, metric: Metric) -> bool:
    return bool(group.values(metric))


def _published(runs: pd.DataFrame, group: Group) -> Sequence[Published]:
    return published(runs, group.label) if is_method_file(group.label) else ()


def teacher_row(runs: pd.DataFrame, known: Sequence[Metric], gaps: bool, quote: str | None) -> list[Row]:
    """The teacher's own figures, over the teachers there are; no row without one."""
    if "teacher.test_top1" not in runs:
        return []
    taught = runs[runs["teacher"].notna()].drop_duplicates(["teacher_signature", "teacher.test_top1"])
    if taught.empty:
        return []

    def cell(metric: Metric) -> Cell:
        if not metric.teacher or metric.teacher not in taught:
            return Cell()
        return Cell(of_spread(spread(taught[metric.teacher].dropna().astype(float).tolist()), metric))

    extra = [Cell(), Cell()] * gaps + ([] if quote is None else [Cell(quote or "–")])
    name = f"teacher {taught['teacher.network'].iloc[0]}"
    return [Row(name, [Cell(str(len(taught))), cell(TOP1), *extra, *map(cell, known)])]


def notes_of(runs: pd.DataFrame, rows: Sequence[Compared], reference: str) -> list[str]:
    """How the figures are to be read."""
    notes = [f"Mean ± sample standard deviation {covers(runs)}."]
    tested = [row.difference for row in rows if row.difference is not None and not math.isnan(row.difference.p)]
    if reference and tested:
        notes.append(
            f"Δ: difference to {reference}, paired by seed and teacher, with Student's 95 % interval (uncorrected; "
            f"bold where it excludes 0); * stays after Holm's correction over this table's {len(tested)} comparisons."
        )
        notes.append("Detectable: the true difference that the comparison, with its own n and scatter, sees in 4 of 5.")
    elif reference and any(row.difference is not None for row in rows):
        notes.append(f"Δ: difference to {reference}; of one pair, or without scatter, it has no interval.")
    if any(row.group.diverged for row in rows):
        notes.append("Diverged: not a number, or at chance on the test images; such a cell has no mean and no rank.")
    unlike = sum(row.unlike for row in rows)
    if unlike:
        notes.append(f"Left out of differences: {unlike} pairs whose teachers are not the same network.")
    return notes


def _missing(comparison: Comparison) -> list[str]:
    """Seeds that some conditions lack."""
    runs = comparison.setting.runs
    seeds = sorted(runs["seed"].dropna().unique())
    lacking: dict[str, list[Group]] = {}
    for row in comparison.rows:
        absent = ",".join(str(seed) for seed in seeds if seed not in set(row.group.runs["seed"]))
        lacking.setdefault(absent, []).append(row.group)
    found = []
    for absent, groups in lacking.items():
        if absent:
            typed = [word for word in groups[0].runs["typed"].iloc[0] or () if not word.startswith("seed=")]
            command = " ".join(["python -m kd_experiments --multirun", *typed, f"seed={absent}"])
            also = f" ({len(groups) - 1} further rows lack them too)" if len(groups) > 1 else ""
            found.append(f"{groups[0].title} lacks seed {absent.replace(',', ', ')}: {command}{also}")
    return found


def _machine(runs: pd.DataFrame) -> str:
    if "machine.device_name" not in runs:
        return "unknown"
    threads = runs.get("machine.threads", pd.Series(pd.NA, runs.index)).astype(str)
    names = (runs["machine.device_name"].astype(str) + ", " + threads + " threads").value_counts()
    return "; ".join(f"{name}" if len(names) == 1 else f"{name} ({count})" for name, count in names.items())
