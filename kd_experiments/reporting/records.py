"""Records of runs: read from disk, told apart by what makes a method another one, grouped into comparable settings."""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from kd_experiments.errors import UserError
from kd_experiments.tracking.record import read_record

# Configuration that makes up the setting in which methods are compared; everything else but the seed is the method.
SETTING = ("dataset", "label_noise", "student", "recipe")
METHOD = ("method", "revision", "selection", "weighting", "temperature", "label_loss")
PRIMARY = "test_top1_last"
_PLACES = {"dataset.root", "dataset.download"}
_NEW = {"kd_weight": 0.0, "standardise": False, "warm_up_epochs": 0}  # of the method: what older records leave unsaid


@dataclass(frozen=True)
class Run:
    """One complete run, as far as tables care."""

    signature: str
    seed: int
    variant: str  # digest of the method and its parts
    method: str
    record: Mapping[str, Any]

    def figures(self) -> dict[str, float]:
        """Every number of `metrics` and `timing` (bytes as MiB), and the shares selected and revised in per cent."""
        record = self.record
        found = {key: value for key, value in record["metrics"].items() if isinstance(value, int | float)}
        for key, value in record["timing"].items():
            if key.endswith("_bytes"):
                found[key.removesuffix("_bytes") + "_mib"] = value / 2**20
            elif key != "this_call_seconds":  # the last call alone, of a run that was resumed
                found[key] = value
        if "selection" in record:
            found["selected_share"] = record["selection"]["share"] * 100
        if record.get("revision", {}).get("name", "none") != "none":
            found["revised_share"] = record["revision"]["revised"] / record["data"]["train"] * 100
        return found


@dataclass(frozen=True)
class Records:
    """What was found: complete runs, how many records have which status, and a line for each that was left out."""

    runs: list[Run]
    statuses: Mapping[str, int]
    complaints: list[str]


def read_runs(results: Path) -> Records:
    """Complete runs below `results/runs`, sorted by signature; a broken record is named and left out."""
    return collect(_records(results))


def _records(results: Path) -> Iterator[tuple[str, Mapping[str, Any] | UserError | None]]:
    for path in sorted((results / "runs").glob("*/record.json")):
        try:
            yield str(path), read_record(path)
        except UserError as error:
            yield str(path), error


def collect(records: Iterable[tuple[str, Mapping[str, Any] | UserError | None]]) -> Records:
    """Runs of (place, record) pairs; None stands for a record that cannot be read."""
    runs: list[Run] = []
    statuses: dict[str, int] = defaultdict(int)
    complaints: list[str] = []
    for place, record in records:
        status, reason = "unreadable", "not a record of this program"
        if isinstance(record, UserError):
            reason = str(record).removeprefix(f"{place}: ")
        elif record is not None:
            try:
                status, reason = str(record["status"]), ""
                if status == "complete":
                    runs.append(as_run(record))
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                status, reason = "unreadable", f"broken: {type(error).__name__}: {error}"
        statuses[status] += 1
        if reason:
            complaints.append(f"left out {place}: {reason}")
    return Records(runs, dict(statuses), complaints)


def as_run(record: Mapping[str, Any]) -> Run:
    """The run of a complete record; KeyError, TypeError or ValueError for one that lacks what tables need."""
    config = record["config"]
    for group in (*SETTING, "peer", "teacher"):
        config[group].items()
    run = Run(record["signature"], int(record["seed"]), _digest(method_keys(config)), config["method"]["name"], record)
    figures = run.figures()
    if not math.isfinite(figures[PRIMARY]):
        raise ValueError(f"{PRIMARY} is {figures[PRIMARY]}")
    return run


def method_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of the method and its parts; without a teacher or peer only what then matters."""
    if config["method"]["distiller"] == "none":
        return {"method.name": config["method"]["name"], **dict(flatten(config["label_loss"], "label_loss"))}
    groups = [*METHOD, "peer"] if config["method"]["source"] == "peer" else list(METHOD)
    known = {**config, "method": {**_NEW, **config["method"]}}
    return {key: value for group in groups for key, value in flatten(known[group], group)}


def setting_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of the setting, without places on the machine."""
    return {key: value for group in SETTING for key, value in flatten(config[group], group) if key not in _PLACES}


def half_precision(record: Mapping[str, Any]) -> str | None:
    """`bfloat16` where networks computed in it; None for float32, as which older records count on a CPU."""
    chosen = record["config"].get("precision", "auto")
    if chosen == "auto":
        chosen = "bfloat16" if record.get("environment", {}).get("device") == "cuda" else "float32"
    return None if chosen == "float32" else str(chosen)


def flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}")
    else:
        yield prefix, value


class Recorded(Protocol):
    """Anything with the record of a run."""

    @property
    def record(self) -> Mapping[str, Any]: ...


R = TypeVar("R", bound=Recorded)


@dataclass(frozen=True)
class Setting(Generic[R]):
    """Runs that may be compared: same data, label noise, student, recipe, number format and teacher, or no teacher."""

    runs: tuple[R, ...]
    slug: str  # for file names
    title: str  # for people
    teacher: Mapping[str, Any] | None  # its facts, from the record of a run

    @property
    def config(self) -> Mapping[str, Any]:
        """Of one of its runs."""
        config: Mapping[str, Any] = self.runs[0].record["config"]
        return config


def settings(runs: Iterable[R]) -> list[Setting[R]]:
    """Group runs by setting, sorted by slug; runs without a frozen teacher stand in the setting of every teacher."""
    stages: dict[str, list[R]] = defaultdict(list)
    for run in runs:
        keys = setting_keys(run.record["config"]) | {"precision": half_precision(run.record)}
        stages[_digest(keys)].append(run)
    found = []
    for stage, members in stages.items():
        taught: dict[str, list[R]] = defaultdict(list)
        alone = []
        for run in members:
            if run.record.get("teacher") is None:
                alone.append(run)
            else:
                taught[_teacher(run.record)].append(run)
        for teacher, pupils in taught.items():
            found.append(_setting((*pupils, *alone), stage + teacher, pupils[0].record["teacher"]))
        if not taught:
            found.append(_setting(tuple(alone), stage, None))
    return sorted(found, key=lambda setting: setting.slug)


def _teacher(record: Mapping[str, Any]) -> str:
    """What makes a teacher another one: its file, or how it was trained; what is kept of it beside does not."""
    given = record["config"]["teacher"]
    if given.get("checkpoint") is not None:
        return str(record["teacher"]["signature"])
    return _digest(dict(flatten({key: given.get(key) for key in ("network", "seed", "recipe")}, "teacher")))


def _setting(runs: tuple[R, ...], identity: str, teacher: Mapping[str, Any] | None) -> Setting[R]:
    config = runs[0].record["config"]
    noise, student = config["label_noise"], config["student"]["network"]
    noisy = noise["name"] != "none"
    parts = [config["dataset"]["name"], f"{noise['name']}{noise['rate']:g}" if noisy else ""]
    parts += [teacher["network"] if teacher else "", student, hashlib.sha256(identity.encode()).hexdigest()[:6]]
    return Setting(runs, "-".join(filter(None, parts)), title(runs[0].record, teacher), teacher)


def title(record: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str:
    """A setting in words."""
    return f"{data_words(record)}: {pair_words(record, teacher)}, {training_words(record)}"


def data_words(record: Mapping[str, Any]) -> str:
    dataset, noise = (record["config"][key] for key in ("dataset", "label_noise"))
    limit = dataset.get("train_size")
    size = f", {limit:,} training images" if limit else ""
    wrong = "" if noise["name"] == "none" else f", {noise['name']} label noise {noise['rate']:g}"
    return f"{dataset['name']}{size}{wrong}"


def pair_words(record: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str:
    student: str = record["config"]["student"]["network"]
    return f"{teacher['network']} → {student}" if teacher else student


def training_words(record: Mapping[str, Any]) -> str:
    recipe, precision = record["config"]["recipe"], half_precision(record)
    length = f"{recipe['iterations']} iterations" if recipe.get("iterations") else f"{recipe['epochs']} epochs"
    return f"{length}, {precision}" if precision else length


def _digest(keys: Mapping[str, Any]) -> str:
    """Of dotted keys; a key without a value is the same as no key, so that older records, which lack some, agree."""
    given = {key: value for key, value in keys.items() if value is not None}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]
