"""Settings: runs that may be compared, their replicates paired, and what of them is left out or pooled, in words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import pandas as pd

from kd_experiments.cli.choices import methods
from kd_experiments.reporting.frame import PRIMARY
from kd_experiments.reporting.metrics import ACCURACY, COST, Metric
from kd_experiments.reporting.statistics import Difference, Spread, interval, spread

BASELINE, REFERENCES = "none", ("kd", "none")  # the student alone; the first of these is what others are compared with
KERNELS = ("machine.cpu", "machine.capability", "machine.device_name", "machine.threads")  # what may change bits


TELLING = ("dataset.train_size", "precision", "recipe.epochs", "teacher.recipe.epochs")  # first in a file's name


@dataclass(frozen=True)
class Group:
    """One condition: runs of one configuration but for its seeds, one a replicate."""

    label: str
    runs: pd.DataFrame

    @property
    def n(self) -> int:
        return len(self.runs)

    @cached_property  # asked for every figure of every table
    def diverged(self) -> int:
        return int(diverged(self.runs).sum())

    @property
    def title(self) -> str:
        return method_title(self.label)

    def spread(self, metric: Metric) -> Spread:
        """Over all replicates; of none where one of them diverged."""
        gone = bool(self.diverged) and metric.key.startswith("metrics.")
        return spread([] if gone else self.values(metric))

    def values(self, metric: Metric) -> list[float]:
        """Of the replicates that have it, in the metric's unit."""
        return [value * metric.scale for value in self._numbers.get(metric.key, ())]

    @cached_property
    def _numbers(self) -> dict[str, list[float]]:
        """All figures of merit at once, since a frame is slow to ask for one after another."""
        known = [one.key for one in (*ACCURACY, *COST) if one.key in self.runs]
        columns = {key: self.runs[key].to_numpy(dtype=float, na_value=math.nan).tolist() for key in known}
        return {key: [value for value in values if not math.isnan(value)] for key, values in columns.items()}


@dataclass(frozen=True)
class Setting:
    """Same data, noise, sizes, networks, recipe and number format; the teacher's too, whose seed is a replicate's."""

    runs: pd.DataFrame  # complete or diverged, one a condition and replicate
    slug: str  # for file names
    title: str  # for people
    data: str  # name of the data set
    remarks: Sequence[str]  # what was left out, and what is pooled

    def groups(self) -> list[Group]:
        """The student alone first, then the reference, then the others by name."""
        found = [Group(str(label), runs) for label, runs in self.runs.groupby("method", sort=False)]
        return sorted(found, key=lambda group: (_rank(group.label), group.title.lower(), group.label))


def settings(frame: pd.DataFrame) -> list[Setting]:
    """Every setting of the frame; a run without a frozen teacher stands in the setting of every teacher."""
    if frame.empty:
        return []
    found = []
    for _, stage in frame.groupby("stage", sort=True):
        alone = stage[stage["teacher"].isna()]
        taught = [runs for _, runs in stage[stage["teacher"].notna()].groupby("teacher", sort=True)]
        for runs in taught or [alone]:
            members = pd.concat([runs, alone]) if taught else runs
            kept, remarks = replicates(members)
            if len(kept):
                found.append(Setting(kept, "", _title(kept), str(kept["dataset.name"].iloc[0]), remarks))
    slugs = _slugs([setting.runs for setting in found])
    named = [Setting(one.runs, slug, one.title, one.data, one.remarks) for one, slug in zip(found, slugs, strict=True)]
    return sorted(named, key=lambda setting: setting.slug)


def replicates(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """One run for each condition and replicate, the last to finish; and in words what is not among them, or unlike."""
    counted = runs[runs["status"].isin(["complete", "diverged"])]
    remarks = []
    for status, count in runs["status"].value_counts().sort_index().items():
        if status not in ("complete", "diverged"):
            remarks.append(f"Not counted: {count} {status} run{'s' * (count != 1)}.")
    ordered = counted.sort_values(["finished", "signature"], na_position="first", kind="stable")
    repeated = ordered.duplicated(["method", "teacher", "replicate"], keep="last")
    for label, left in ordered[repeated].groupby("method", sort=True):
        seeds = ", ".join(sorted({str(one) for one in left["replicate"]}))
        remarks.append(f"Left out: {len(left)} earlier run{'s' * (len(left) != 1)} of {label} with the same {seeds}.")
    kept = ordered[~repeated].sort_values(["method", "replicate", "signature"], kind="stable")
    return kept, [*remarks, *_pooled(kept)]


def diverged(runs: pd.DataFrame) -> pd.Series:
    """Which runs came to nothing: not a number, or no better on test images than guessing (three deviations)."""
    top1 = pd.to_numeric(runs[PRIMARY]) if PRIMARY in runs else pd.Series(math.nan, runs.index)
    classes, size = (pd.to_numeric(runs.get(key, pd.Series(math.nan, runs.index))) for key in _CHANCE)
    chance = 1 / classes.astype("float64")
    limit = 100 * (chance + 3 * (chance * (1 - chance) / size.astype("float64")) ** 0.5)
    stuck = (top1 <= limit).fillna(False)
    return (runs["status"] == "diverged") | top1.isna() | stuck


_CHANCE = ("data.classes", "data.test")


def compare(ours: Group, reference: Group, metric: Metric) -> tuple[Difference | None, int]:
    """Ours minus the reference, paired by seed and teacher, and how many pairs had teachers that differ.

    A pair's teachers have the same seed; where they were trained on machines that gave other networks, the pair says
    nothing of the methods and is left out. Where only one side has a teacher, pairs are by the other seeds, and runs
    with several teachers count by their mean. None without a pair, or where a run of either side diverged.
    """
    if ours.diverged or reference.diverged or metric.key not in ours.runs:
        return None, 0
    keys = _seeds(ours.runs) & _seeds(reference.runs)
    left, right = (_by_seed(group.runs, metric, keys) for group in (ours, reference))
    shared = left.index.intersection(right.index)
    unlike = pd.Series(False, shared)
    if "teacher.seed" in keys:
        mine, theirs = (_by_seed(group.runs, None, keys).reindex(shared) for group in (ours, reference))
        unlike = mine.ne(theirs)
    values = (left[shared] - right[shared])[~unlike].dropna() * metric.scale
    return (interval(values.tolist()) if len(values) else None), int(unlike.sum())


def covers(runs: pd.DataFrame) -> str:
    """What the scatter of these runs is of, in words."""
    taught = runs[runs["teacher"].notna()]
    seeds = ", ".join(str(seed) for seed in sorted(runs["seed"].dropna().unique()))
    count = taught[["teacher_signature", "teacher_seed"]].drop_duplicates().shape[0]
    if count == 0:
        return f"over seeds ({seeds})"
    if count == 1:
        return f"over student seeds ({seeds}) with one teacher: other teachers are not covered"
    return f"over seeds ({seeds}) of students and of {count} teachers: both are covered"


@cache
def _titles() -> dict[str, str]:
    return {method.name: method.title for method in methods()}


def method_title(label: str) -> str:
    """A label with the published names of its methods: `lrds ratio=0.6` -> `LRDS ratio=0.6`."""
    if label == BASELINE:
        return f"student ({_titles().get(label, label)})"
    return " + ".join(
        " ".join([_titles().get(part.split(" ")[0], part.split(" ")[0]), *part.split(" ")[1:]])
        for part in label.split(" + ")
    )


def is_method_file(label: str) -> bool:
    """Whether a label is that of a method as its file defines it."""
    return label in _titles()


def _rank(label: str) -> int:
    return (BASELINE, *REFERENCES).index(label) if label in (BASELINE, *REFERENCES) else 9


def _pooled(runs: pd.DataFrame) -> list[str]:
    """A sentence where these runs come from unlike machines or code."""
    told = []
    known = [key for key in KERNELS if key in runs]
    machines = runs[known].dropna(how="all").drop_duplicates() if known else runs.iloc[:0]
    if len(machines) > 1:
        listed = "; ".join(sorted({_words(row) for row in machines.itertuples(index=False)}))
        told.append(f"Pooled over {len(machines)} machines or numbers of threads, which may change bits: {listed}.")
    for key, what in (("machine.commit", "commits"), ("machine.packages.torch", "versions of torch")):
        values = sorted(map(str, runs[key].dropna().unique())) if key in runs else []
        if len(values) > 1:
            told.append(f"Pooled over {len(values)} {what}: {', '.join(values[:6])}{', ...' * (len(values) > 6)}.")
    return told


def _words(values: Iterable[object]) -> str:
    parts = list(dict.fromkeys(str(value) for value in values if not pd.isna(value)))  # type: ignore[call-overload]
    return " ".join(f"{part} threads" if part.isdecimal() else part for part in parts)


def _seeds(runs: pd.DataFrame) -> frozenset[str]:
    """The names of the seeds that every one of these runs has."""
    return frozenset.intersection(*(frozenset(_replicate(text)) for text in runs["replicate"]))


def _replicate(text: object) -> dict[str, str]:
    """`seed=1, teacher.seed=0` by name."""
    return dict(part.strip().split("=", 1) for part in str(text).split(",") if "=" in part)


def _by_seed(runs: pd.DataFrame, metric: Metric | None, keys: frozenset[str]) -> pd.Series:
    """A figure by the values of these seeds, or without one what is known of the teacher."""
    given = runs["replicate"].map(lambda text: tuple(sorted((k, v) for k, v in _replicate(text).items() if k in keys)))
    if metric is not None:
        return pd.to_numeric(runs[metric.key]).astype("float64").groupby(given).mean()
    facts = [key for key in ("teacher.train_wrong", "teacher.test_top1") if key in runs]
    return runs[facts].astype(str).agg(" ".join, axis=1).groupby(given).first()


def _title(runs: pd.DataFrame) -> str:
    """A setting in words, of its first run with a teacher."""
    return f"{data_words(runs)}: {pair_words(runs)}, {training_words(runs)}"


def first(runs: pd.DataFrame, key: str, default: object = None) -> object:
    """The first value that is there, of runs with a teacher before others."""
    if key not in runs:
        return default
    known = runs.sort_values("teacher", na_position="last", kind="stable")[key].dropna()
    return known.iloc[0] if len(known) else default


def data_words(runs: pd.DataFrame) -> str:
    noise, limit = first(runs, "label_noise.name", "none"), first(runs, "dataset.train_size")
    size = f", {int(str(limit)):,} training images" if limit else ""
    wrong = "" if noise == "none" else f", {noise} label noise {first(runs, 'label_noise.rate'):g}"
    return f"{first(runs, 'dataset.name')}{size}{wrong}"


def pair_words(runs: pd.DataFrame) -> str:
    student = str(first(runs, "student.network"))
    taught = runs["teacher"].notna().any()
    return f"{first(runs, 'teacher.network')} → {student}" if taught else student


def training_words(runs: pd.DataFrame) -> str:
    iterations = first(runs, "recipe.iterations")
    length = f"{iterations} iterations" if iterations else f"{first(runs, 'recipe.epochs')} epochs"
    precision = first(runs, "precision", "float32")
    return length if precision in ("float32", "auto") else f"{length}, {precision}"


def _slugs(found: Sequence[pd.DataFrame]) -> list[str]:
    """File names: data, noise and networks; where that is not enough keys that differ; a number as a last resort."""
    slugs = [_slug(runs) for runs in found]
    for slug in sorted({slug for slug in slugs if slugs.count(slug) > 1}):
        values = {place: _values(found[place]) for place, one in enumerate(slugs) if one == slug}
        keys = sorted({key for one in values.values() for key in one}, key=lambda key: (key not in TELLING, key))
        differing = [key for key in keys if len({one.get(key) for one in values.values()}) > 1]
        for place, known in values.items():
            words = [f"{key.rsplit('.', 1)[-1]}{known[key]}" for key in differing[:2] if key in known]
            slugs[place] = "-".join([slug, *words])
    for slug in sorted({slug for slug in slugs if slugs.count(slug) > 1}):
        for number, place in enumerate([place for place, one in enumerate(slugs) if one == slug], start=1):
            slugs[place] = f"{slug}-{number}"
    return slugs


def _slug(runs: pd.DataFrame) -> str:
    noise = first(runs, "label_noise.name", "none")
    wrong = "" if noise == "none" else f"{noise}{first(runs, 'label_noise.rate'):g}"
    teacher = first(runs, "teacher.network") if runs["teacher"].notna().any() else None
    parts = [first(runs, "dataset.name"), wrong, teacher, first(runs, "student.network")]
    return re.sub(r"[^\w.-]", "_", "-".join(str(part) for part in parts if part))


def _values(runs: pd.DataFrame) -> dict[str, str]:
    """The plain values of the keys that all runs of a setting share and that are no method's."""
    parts = ("dataset", "label_noise", "recipe", "teacher", "precision", "student")
    keys = [str(key) for key in runs if str(key).split(".")[0] in parts and key != "teacher"]
    measured = ("teacher.t", "teacher.v", "teacher.parameters", "teacher.signature", "teacher.seed", "student.param")
    found = {}
    for key in keys:
        values = runs[key].dropna().unique()
        if len(values) == 1 and not key.startswith(measured) and not isinstance(values[0], tuple):
            found[key] = "".join(sign for sign in f"{values[0]}" if sign.isalnum() or sign in "._")
    return found
