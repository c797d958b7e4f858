"""Settings: runs that may be compared, their replicates paired, and what of them is left out or pooled, in words."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TypeVar

from kd_experiments.cli.choices import read_method
from kd_experiments.files import file_name
from kd_experiments.places import files_of
from kd_experiments.reporting.frame import PRIMARY, Run
from kd_experiments.reporting.metrics import TOP1, Metric
from kd_experiments.reporting.statistics import Difference, Spread, interval, spread

T = TypeVar("T")
BASELINE, REFERENCES = "none", ("kd", "none")  # the student alone; the first of these is what others are compared with
DONE = ("complete", "diverged")
KERNELS = ("machine.cpu", "machine.capability", "machine.device_name", "machine.threads")  # what may change bits
TELLING = ("dataset.train_size", "precision", "recipe.epochs", "teacher.recipe.epochs")  # first in a file's name


@dataclass(frozen=True)
class Group:
    """One condition: runs of one configuration but for its seeds, one a replicate; compared by `metric`."""

    label: str
    runs: Sequence[Run]
    metric: Metric = TOP1

    @property
    def n(self) -> int:
        return len(self.runs)

    @cached_property
    def diverged(self) -> int:
        return sum(map(diverged, self.runs))

    @cached_property
    def signatures(self) -> frozenset[str]:
        return frozenset(run["signature"] for run in self.runs)

    @property
    def title(self) -> str:
        return method_title(self.label)

    def spread(self, metric: Metric | None = None) -> Spread:
        """Over all replicates; of none where one of them diverged."""
        gone = self.diverged and (metric or self.metric).key.startswith("metrics.")
        return spread([] if gone else self.values(metric))

    def values(self, metric: Metric | None = None) -> list[float]:
        """Of the replicates that have it, in the metric's unit."""
        one = metric or self.metric
        return [run[one.key] * one.scale for run in self.runs if one.key in run]


@dataclass(frozen=True)
class Setting:
    """Same data, noise, sizes, networks, recipe and number format; the teacher's too, whose seed is a replicate's."""

    runs: Sequence[Run]  # complete or diverged, one a condition and replicate
    slug: str  # for file names
    remarks: Sequence[str]  # what was left out, and what is pooled

    @property
    def title(self) -> str:
        pair = " → ".join(str(one) for role in ("teacher", "student") if (one := first(self.runs, f"{role}.network")))
        return f"{data_words(self.runs)}: {pair}, {training_words(self.runs)}"

    def groups(self) -> list[Group]:
        """The student alone first, then the reference, then the others by name."""
        found = [Group(label, runs) for label, runs in grouped(self.runs, lambda run: str(run["method"])).items()]
        first = (BASELINE, REFERENCES[0])
        return sorted(found, key=lambda one: (*(one.label != name for name in first), one.title.lower(), one.label))


def settings(runs: Iterable[Run]) -> list[Setting]:
    """Every setting there is; a run without a frozen teacher stands in the setting of every teacher."""
    found = []
    for stage in grouped(runs, lambda run: str(run["stage"])).values():
        by_teacher = grouped(stage, lambda run: str(run.get("teacher", "")))
        alone = by_teacher.pop("", [])
        for taught in list(by_teacher.values()) or [[]]:
            kept, remarks = replicates([*taught, *alone])
            if kept:
                found.append(Setting(kept, "", remarks))
    slugs = _slugs([setting.runs for setting in found])
    named = [replace(one, slug=slug) for one, slug in zip(found, slugs, strict=True)]
    return sorted(named, key=lambda setting: setting.slug)


def grouped(runs: Iterable[T], key: Callable[[T], Any]) -> dict[Any, list[T]]:
    """Runs by a key, in the order in which its values are met."""
    found: dict[Any, list[T]] = {}
    for run in runs:
        found.setdefault(key(run), []).append(run)
    return found


def replicates(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """One run for each condition and replicate, the last to finish; and in words what is not among them, or unlike."""
    undone = Counter(str(run["status"]) for run in runs if run["status"] not in DONE)
    remarks = [f"Not counted: {count} {status} run{'s' * (count != 1)}." for status, count in sorted(undone.items())]
    counted = [run for run in runs if run["status"] in DONE]
    counted.sort(key=lambda run: (run.get("finished", ""), run["signature"]))
    last = {(run["method"], run.get("teacher"), run["replicate"]): run for run in counted}
    kept = sorted(last.values(), key=lambda run: (run["method"], run["replicate"], run["signature"]))
    signatures = {run["signature"] for run in kept}
    earlier = grouped((run for run in counted if run["signature"] not in signatures), lambda run: str(run["method"]))
    for label, left in sorted(earlier.items()):
        seeds = ", ".join(sorted({run["replicate"] for run in left}))
        remarks.append(f"Left out: {len(left)} earlier run{'s' * (len(left) != 1)} of {label} with the same {seeds}.")
    return kept, [*remarks, *_pooled(kept)]


def diverged(run: Run) -> bool:
    """Whether a run came to nothing: not a number, or no better on test images than guessing (three deviations)."""
    if run["status"] == "diverged" or PRIMARY not in run:
        return True
    chance, size = 1 / run.get("data.classes", math.inf), run.get("data.test", math.inf)
    return bool(run[PRIMARY] <= 100 * (chance + 3 * math.sqrt(chance * (1 - chance) / size)))


def compare(ours: Group, reference: Group) -> tuple[Difference | None, int]:
    """Ours minus the reference, paired by seed and teacher, and how many pairs had teachers that differ.

    A pair's teachers have the same seed; where they were trained on machines that gave other networks, the pair says
    nothing of the methods and is left out. Where only one side has a teacher, pairs are by the other seeds, and runs
    with several teachers count by their mean. None without a pair, or where a run of either side diverged.
    """
    if ours.diverged or reference.diverged:
        return None, 0
    keys = set.intersection(*({*_pairs(str(run["replicate"]))} for one in (ours, reference) for run in one.runs))
    left, right = (grouped(group.runs, lambda run: _at(run, keys)) for group in (ours, reference))
    found, unlike = [], 0
    for place in sorted(left.keys() & right.keys()):
        if "teacher.seed" in keys and _taught_by(left[place][0]) != _taught_by(right[place][0]):
            unlike += 1
            continue
        means = [spread(replace(ours, runs=side[place]).values()).mean for side in (left, right)]
        found.append(means[0] - means[1])
    known = [value for value in found if not math.isnan(value)]
    return (interval(known) if known else None), unlike


def covers(runs: Sequence[Run]) -> str:
    """What the scatter of these runs is of, in words."""
    seeds = ", ".join(str(seed) for seed in sorted({run["seed"] for run in runs if "seed" in run}))
    count = len({(run.get("teacher_signature"), run.get("teacher_seed")) for run in runs if "teacher" in run})
    if count == 0:
        return f"over seeds ({seeds})"
    if count == 1:
        return f"over student seeds ({seeds}) with one teacher: other teachers are not covered"
    return f"over seeds ({seeds}) of students and of {count} teachers: both are covered"


@cache
def _titles() -> dict[str, str]:
    return {name: read_method(path).title for name, path in files_of("method").items()}


def method_title(label: str) -> str:
    """A label with the published names of its methods: `lrds ratio=0.6` -> `LRDS ratio=0.6`."""
    if label == BASELINE:
        return f"student ({_titles().get(label, label)})"
    parts = (part.split(" ") for part in label.split(" + "))
    return " + ".join(" ".join([_titles().get(name, name), *rest]) for name, *rest in parts)


def one_version(runs: Sequence[Run]) -> list[Run]:
    """Labels without the version of own code, where all runs of a label have the same."""
    bare = {label: re.sub(r" @[0-9a-f+]+$", "", label) for label in {str(run["method"]) for run in runs}}
    alone = {label: name for label, name in bare.items() if label != name and Counter(bare.values())[name] == 1}
    return [{**run, "method": alone[run["method"]]} if run["method"] in alone else run for run in runs]


def is_method_file(label: str) -> bool:
    """Whether a label is that of a method as its file defines it."""
    return label in _titles()


def _pooled(runs: Sequence[Run]) -> list[str]:
    """A sentence where these runs come from unlike machines or code."""
    told = []
    machines = {machine(run) for run in runs} - {""}
    if len(machines) > 1:
        listed = "; ".join(sorted(machines))
        told.append(f"Pooled over {len(machines)} machines or numbers of threads, which may change bits: {listed}.")
    for key, what in (("machine.commit", "commits"), ("machine.packages.torch", "versions of torch")):
        values = sorted({str(run[key]) for run in runs if key in run})
        if len(values) > 1:
            told.append(f"Pooled over {len(values)} {what}: {', '.join(values[:6])}{', ...' * (len(values) > 6)}.")
    return told


def machine(run: Run) -> str:
    return " ".join(dict.fromkeys(f"{run[key]}{' threads' * (key == KERNELS[-1])}" for key in KERNELS if key in run))


@cache
def _pairs(replicate: str) -> dict[str, str]:
    return dict(part.strip().split("=", 1) for part in replicate.split(",") if "=" in part)


def _at(run: Run, keys: Collection[str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, value) for key, value in _pairs(str(run["replicate"])).items() if key in keys))


def _taught_by(run: Run) -> tuple[object, ...]:
    """What tells networks of one seed apart that were trained on unlike machines."""
    return run.get("teacher.train_wrong"), run.get("teacher.test_top1")


def first(runs: Sequence[Run], key: str, default: object = None) -> object:
    """The first value that is there, of runs with a teacher before others."""
    known = [run for run in runs if key in run]
    return next((run[key] for run in known if "teacher" in run), known[0][key] if known else default)


def data_words(runs: Sequence[Run]) -> str:
    noise, limit = first(runs, "label_noise.name", "none"), first(runs, "dataset.train_size")
    size = f", {int(str(limit)):,} training images" if limit else ""
    wrong = "" if noise == "none" else f", {noise} label noise {first(runs, 'label_noise.rate', '')}".rstrip()
    side = first(runs, "dataset.image_size")  # other than that of the data set itself
    return f"{first(runs, 'dataset.name')}{f' of {side} x {side} pixels' if side else ''}{size}{wrong}"


def training_words(runs: Sequence[Run]) -> str:
    iterations = first(runs, "recipe.iterations")
    length = f"{iterations} iterations" if iterations else f"{first(runs, 'recipe.epochs')} epochs"
    precision = first(runs, "precision", "float32")
    return length if precision in ("float32", "auto") else f"{length}, {precision}"


def _slugs(found: Sequence[Sequence[Run]]) -> list[str]:
    """File names: data, noise and networks; where that is not enough keys that differ; a number as a last resort."""
    slugs = [_slug(runs) for runs in found]
    for slug, places in grouped(range(len(slugs)), slugs.__getitem__).items():
        values = {place: _values(found[place]) for place in places if len(places) > 1}
        keys = sorted({key for one in values.values() for key in one}, key=lambda key: (key not in TELLING, key))
        differing = [key for key in keys if len({one.get(key) for one in values.values()}) > 1]
        names = ["-".join([slug, *(f"{key.rsplit('.', 1)[-1]}{known[key]}" for key in differing[:2] if key in known)])
                 for known in values.values()]  # fmt: skip
        for number, (place, name) in enumerate(zip(values, names, strict=True), start=1):
            slugs[place] = file_name(name) + (f"-{number}" if names.count(name) > 1 else "")
    return slugs


def _slug(runs: Sequence[Run]) -> str:
    noise = first(runs, "label_noise.name", "none")
    wrong = "" if noise == "none" else f"{noise}{first(runs, 'label_noise.rate', '')}"
    parts = [first(runs, "dataset.name"), wrong, first(runs, "teacher.network"), first(runs, "student.network")]
    return file_name(re.sub(r"[^A-Za-z0-9.+=_-]+", "_", "-".join(str(part) for part in parts if part)))


def _values(runs: Sequence[Run]) -> dict[str, str]:
    """The plain values of the keys that all runs of a setting share and that are no method's."""
    parts = ("dataset.", "label_noise.", "recipe.", "teacher.", "precision", "student.")
    measured = ("teacher.t", "teacher.v", "teacher.parameters", "teacher.seed", "student.param")
    found = {}
    for key in sorted({key for run in runs for key in run if key.startswith(parts) and not key.startswith(measured)}):
        values = {run[key] for run in runs if key in run}
        if len(values) == 1 and not isinstance(value := values.pop(), tuple):
            found[key] = "".join(sign for sign in str(value) if sign.isalnum() or sign in "._")
    return found
