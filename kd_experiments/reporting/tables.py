"""Tables: of a setting, of a sweep as its file lays it out, and of what both cost."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kd_experiments.reporting import settings
from kd_experiments.reporting.frame import Run
from kd_experiments.reporting.metrics import ACCURACY, COST, TOP1, Metric, number
from kd_experiments.reporting.published import TEACHER, published, quoted
from kd_experiments.reporting.settings import Group, Setting, compare, covers, grouped, is_method_file, machine
from kd_experiments.reporting.statistics import Difference, Spread, holm, spread
from kd_experiments.reporting.table import QUOTES, Cell, Row, Table

OTHER_SEED = re.compile(r"[\w.]+\.(split_)?seed=")  # a typed word that is not the student's own


@dataclass(frozen=True)
class Compared:
    """One condition with its difference to the reference; `star` where that stays after Holm's correction."""

    group: Group
    difference: Difference | None = None
    star: bool = False
    is_reference: bool = False
    unlike: int = 0  # pairs left out since their teachers differ

    @property
    def is_clear(self) -> bool:
        return self.difference is not None and self.difference.excludes_zero


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
    shown = [group for group in groups if is_method_file(group.label) or group.label == reference
             or not group.signatures <= elsewhere]  # fmt: skip
    wanted = [reference] if reference else settings.REFERENCES
    base = next((group for name in wanted for group in shown if group.label == name), None)
    return Comparison(setting, against(shown, [base] * len(shown)), base, len(groups) - len(shown))


def against(groups: Sequence[Group], references: Sequence[Group | None]) -> list[Compared]:
    """Each condition compared with its reference, all of them one family of Holm's correction."""
    pairs = list(zip(groups, references, strict=True))
    found = [(None, 0) if base is None or base is group else compare(group, base) for group, base in pairs]
    stars = holm([difference for difference, _ in found])
    return [Compared(group, difference, star, base is group, unlike)
            for (group, base), (difference, unlike), star in zip(pairs, found, stars, strict=True)]  # fmt: skip


def setting_table(comparison: Comparison) -> Table:
    """A row a condition, below the teacher's."""
    setting, hidden = comparison.setting, comparison.hidden
    variants = [f"{hidden} variants stand in the tables of the sweeps that vary them."] if hidden else []
    return metric_table(setting.slug, setting.title, setting.runs, comparison.rows, comparison.reference,
                        [*setting.remarks, *variants], _missing(comparison))  # fmt: skip


def cost_table(table: Table, groups: Sequence[Group]) -> Table:
    """Time and memory of the same conditions, on the machines named; for a quiet machine."""
    known = [metric for metric in COST if any(group.values(metric) for group in groups)]
    machines = ["; ".join(sorted(set(map(machine, group.runs)))) for group in groups]
    rows = [Row(group.title, [*(Cell(spread_text(group, m)) for m in known), Cell(where)])
            for group, where in zip(groups, machines, strict=True)]  # fmt: skip
    figures = [{"method": group.label, **figures_of(group, known)} for group in groups]
    notes = ["Mean ± sample standard deviation over runs, on the machines named, said to be quiet by who made this."]
    heads = [*(metric.head for metric in known), "machine"]
    return Table(table.name, f"Cost, {table.title}", table.data, heads, rows, figures, f"Cost, {table.title}", notes)


def metric_table(name: str, title: str, runs: Sequence[Run], rows: Sequence[Compared], reference: Group | None,
                 remarks: Sequence[str], missing: Sequence[str] = ()) -> Table:  # fmt: skip
    """Conditions with their figures of merit in columns."""
    known = [metric for metric in ACCURACY[1:] if any(row.group.values(metric) for row in rows)]
    ours = [published(runs, row.group.label) if is_method_file(row.group.label) else () for row in rows]
    (teacher_quote, *quotes), sources = quoted([published(runs, TEACHER) if any(ours) else (), *ours])
    base = "" if reference is None else f"Δ {reference.title} [95 %]"
    metric = rows[0].group.metric
    heads = ["n", metric.head, *([base, "detectable Δ"] if base else []), *([QUOTES] if sources else [])]
    best = best_of([row.group for row in rows])
    made = []
    for row, quote in zip(rows, quotes, strict=True):
        cells = [Cell(str(row.group.n)), Cell(spread_text(row.group), best=row.group is best)]
        if base:
            told = "reference" if row.is_reference else " ".join(gap_text(row)).strip() or "–"
            seen = number(row.difference.detectable, 2) if row.difference else "–"
            cells += [Cell(told, best=row.is_clear), Cell(seen)]
        cells += [Cell(quote or "–")] * len(sources) + [Cell(spread_text(row.group, metric)) for metric in known]
        made.append(Row(row.group.title, cells))
    notes = [*notes_of(runs, rows, "" if reference is None else reference.title), *sources, *remarks]
    if base:
        notes.append("Detectable: the true difference that the comparison, with its own n and scatter, sees in 4 of 5.")
    known = [metric, *known]
    figures = [{"method": one.group.label, **figures_of(one.group, known), **gap_figures(one)} for one in rows]
    top = teacher_row(runs, known, bool(base), teacher_quote if sources else None)
    paper = tuple(place for place, head in enumerate(heads) if head in (metric.head, base, QUOTES))
    heads += [one.head for one in known[1:]]
    told, data = f"{'Test ' * (metric is TOP1)}{metric.head}, last epoch. {title}.", str(runs[0]["dataset.name"])
    return Table(name, title, data, heads, [*top, *made], figures, told, notes, missing, paper)


def figures_of(group: Group, metrics: Sequence[Metric]) -> dict[str, Any]:
    found: dict[str, Any] = {"n": group.n, "diverged": group.diverged}
    for metric in metrics:
        one, key = group.spread(metric), metric.key.split(".", 1)[1]
        found |= {f"{key}_mean": one.mean, f"{key}_sd": one.sd}
    return found


def gap_figures(row: Compared) -> dict[str, Any]:
    one = row.difference or Difference(math.nan, math.nan, math.nan, 0)
    return {"difference": one.mean, "low": one.low, "high": one.high, "pairs": one.n, "p": one.p,
            "detectable": one.detectable, "holm": int(row.star)}  # fmt: skip


def spread_text(group: Group, other: Metric | None = None) -> str:
    """`96.89 ± 0.45`, or how many runs diverged."""
    metric = other or group.metric
    if group.diverged and metric.key.startswith("metrics."):
        return f"{group.diverged} of {group.n} diverged" if metric is group.metric else "–"
    return of_spread(group.spread(metric), metric)


def of_spread(found: Spread, metric: Metric) -> str:
    if not found.n:
        return "–"
    return metric.text(found.mean) + ("" if math.isnan(found.sd) else f" ± {found.sd:.{metric.digits}f}")


def gap_text(row: Compared) -> tuple[str, str]:
    """`+0.52*` and `[+0.10, +0.94]`; an interval only where there is one."""
    one = row.difference
    if one is None:
        return "", ""
    bracket = "" if math.isnan(one.low) else f"[{number(one.low, 2, True)}, {number(one.high, 2, True)}]"
    return number(one.mean, 2, True) + "*" * row.star, bracket


def best_of(groups: Sequence[Group]) -> Group | None:
    """The highest mean, of those in which nothing diverged; no one where there is nothing to choose from."""
    means = [(group.spread().mean, place) for place, group in enumerate(groups) if group.spread().n]
    return groups[max(means)[1]] if len(means) > 1 else None


def teachers(runs: Sequence[Run]) -> list[Run]:
    """A run of each teacher that was measured."""
    measured = [run for run in runs if "teacher" in run and "teacher.test_top1" in run]
    return list({(run.get("teacher_signature"), run["teacher.test_top1"]): run for run in reversed(measured)}.values())


def teacher_row(runs: Sequence[Run], known: Sequence[Metric], gaps: bool, quote: str | None) -> list[Row]:
    """The teacher's own figures, over the teachers there are; no row without one."""
    taught = teachers(runs)
    if not taught:
        return []
    values = [[run[metric.teacher] for run in taught if metric.teacher in run] for metric in known]
    top1, *others = [Cell(of_spread(spread(one), metric)) for one, metric in zip(values, known, strict=True)]
    extra = [Cell(), Cell()] * gaps + ([] if quote is None else [Cell(quote or "–")])
    return [Row(f"teacher {taught[0].get('teacher.network', '')}", [Cell(str(len(taught))), top1, *extra, *others])]


def notes_of(runs: Sequence[Run], rows: Sequence[Compared], reference: str) -> list[str]:
    """How the figures are to be read."""
    notes = [f"Mean ± sample standard deviation {covers(runs)}."]
    tested = [row.difference for row in rows if row.difference is not None and not math.isnan(row.difference.p)]
    if reference and tested:
        gap = f"Δ: difference to {reference}, paired by seed and teacher, with Student's 95 % interval (uncorrected;"
        after = f"* stays after Holm's correction over this table's {len(tested)} comparisons."
        notes.append(f"{gap} bold where it excludes 0); {after}")
    elif reference and any(row.difference is not None for row in rows):
        notes.append(f"Δ: difference to {reference}; of one pair, or without scatter, it has no interval.")
    if any(row.group.diverged for row in rows):
        notes.append("Diverged: not a number, or at chance on the test images; such a cell has no mean and no rank.")
    if unlike := sum(row.unlike for row in rows):
        notes.append(f"Left out of differences: {unlike} pairs whose teachers are not the same network.")
    return notes


def _missing(comparison: Comparison) -> list[str]:
    """Seeds that some conditions lack, with the other seeds that runs of the same seed have, as a pair shares them."""
    known = sorted(comparison.setting.runs, key=lambda run: "teacher" in run)
    beside = {run["seed"]: tuple(filter(OTHER_SEED.match, run.get("typed", ()))) for run in known if "seed" in run}
    lacking: dict[tuple[tuple[str, ...], str], list[Group]] = {}  # by the command's words for seeds
    for row in comparison.rows:
        absent = sorted(beside.keys() - {run.get("seed") for run in row.group.runs})
        for others, each in grouped(absent, beside.__getitem__).items():
            lacking.setdefault((others, ",".join(map(str, each))), []).append(row.group)
    found = []
    for (others, seeds), groups in lacking.items():
        typed = [word for word in groups[0].runs[0].get("typed", ())
                 if not word.startswith("seed=") and not OTHER_SEED.match(word)]  # fmt: skip
        command = shlex.join(["python", "-m", "kd_experiments", "--multirun", *typed, *others, f"seed={seeds}"])
        also = f" ({len(groups) - 1} further rows lack them too)" if len(groups) > 1 else ""
        found.append(f"{groups[0].title} lacks seed {seeds.replace(',', ', ')}: {command}{also}")
    return found
