"""The first screen: what was run, what came of it, what can be said, and what failed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kd_experiments.reporting.report.entries import Entry
from kd_experiments.reporting.report.forest import Compared, compared, told
from kd_experiments.reporting.statistics import seen_differences
from kd_experiments.reporting.table import Table

STATUSES = ("complete", "failed", "running", "unreadable")


@dataclass(frozen=True)
class Headline:
    """What one table of methods says in a line."""

    table: Table
    reference: str
    best: Compared  # the largest mean difference
    best_text: str
    compared: int
    above: int  # differences whose interval lies above 0
    below: int
    kept: int  # differences that stay after Holm's correction
    seen: Mapping[int, float]  # n -> smallest true difference found with 80 % probability


@dataclass(frozen=True)
class Experiment:
    """Runs that share data, networks and length."""

    dataset: str
    noise: str
    teacher: str
    student: str
    length: str
    methods: Sequence[str]
    seeds: int
    statuses: Mapping[str, int]


@dataclass(frozen=True)
class Overview:
    statuses: Mapping[str, int]
    first: str  # when the first run started, UTC
    last: str  # when the last run ended, UTC
    hours: float  # of training
    machines: Sequence[str]
    versions: Sequence[str]
    experiments: Sequence[Experiment]
    teachers: Sequence[Mapping[str, Any]]
    headlines: Sequence[Headline]
    unfinished: Sequence[Entry]


def overview(entries: Sequence[Entry], tables: Sequence[Table]) -> Overview:
    counted = Counter(entry.status for entry in entries)
    order = [*STATUSES, *sorted(counted.keys() - set(STATUSES))]
    teachers = {
        str(teacher["signature"]): teacher
        for teacher in (entry.part("teacher") for entry in entries)
        if "signature" in teacher and "network" in teacher
    }
    rank = {status: place for place, status in enumerate(order)}
    return Overview(
        statuses={status: counted[status] for status in order if counted[status] or status in STATUSES[:3]},
        first=min(filter(None, (entry.moment("started") for entry in entries)), default=""),
        last=max((entry.moment("finished") for entry in entries), default=""),
        hours=sum(_seconds(entry) for entry in entries) / 3600,
        machines=_distinct(entries, ("device_name", "device", "platform")),
        versions=_distinct(entries, ("kd_experiments", "commit", "python")),
        experiments=_experiments(entries),
        teachers=sorted(teachers.values(), key=lambda teacher: (str(teacher["network"]), str(teacher["signature"]))),
        headlines=[line for line in map(_headline, tables) if line is not None],
        unfinished=sorted(
            (entry for entry in entries if entry.status != "complete"),
            key=lambda entry: (rank[entry.status], entry.name),
        ),
    )


def _headline(table: Table) -> Headline | None:
    found = compared(table) if table.kind == "setting" else []
    if not found:
        return None
    reference = next((row[0].text for row in table.rows if any(cell.reference for cell in row)), "the reference")
    best = max(found, key=lambda one: one.difference.mean)
    tested = [one.difference for one in found if not math.isnan(one.difference.low)]
    return Headline(
        table=table,
        reference=reference,
        best=best,
        best_text=told(best.difference),
        compared=len(found),
        above=sum(gap.low > 0 for gap in tested),
        below=sum(gap.high < 0 for gap in tested),
        kept=sum(one.star for one in found),
        seen=seen_differences(tested),
    )


def _experiments(entries: Sequence[Entry]) -> list[Experiment]:
    groups: dict[tuple[str, str, str, str, str], list[Entry]] = {}
    for entry in entries:
        if entry.part("config"):
            groups.setdefault(_setting(entry), []).append(entry)
    alone = [setting for setting in groups if not setting[2]]
    for setting in alone:  # runs without a teacher belong to the experiments with one, where there are some
        others = [other for other in groups if other[2] and (*other[:2], "", *other[3:]) == setting]
        if others:
            for other in others:
                groups[other] = groups[other] + groups[setting]
            del groups[setting]
    return [
        Experiment(
            *setting,
            methods=sorted({str(entry.configured("method", "name")) for entry in members}),
            seeds=len({entry.record.get("seed") for entry in members}),
            statuses=Counter(entry.status for entry in members),
        )
        for setting, members in sorted(groups.items())
    ]


def _setting(entry: Entry) -> tuple[str, str, str, str, str]:
    size = entry.configured("dataset", "train_size")
    noise = entry.configured("label_noise", "name")
    iterations = entry.configured("recipe", "iterations")
    return (
        f"{entry.configured('dataset', 'name')}" + (f", {size:,} training images" if isinstance(size, int) else ""),
        "none" if noise in (None, "none") else f"{noise} {entry.configured('label_noise', 'rate')}",
        str(entry.part("teacher").get("network") or ""),
        str(entry.configured("student", "network")),
        f"{iterations} iterations" if iterations else f"{entry.configured('recipe', 'epochs')} epochs",
    )


def _seconds(entry: Entry) -> float:
    seconds = entry.part("timing").get("train_seconds")
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0


def _distinct(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """Different values of some keys of the environment, the most frequent first."""
    counted = Counter(
        " · ".join(str(environment[key]) for key in keys if environment.get(key))
        for environment in (entry.part("environment") for entry in entries)
        if environment
    )
    return sorted(counted, key=lambda text: (-counted[text], text))
