"""Complete runs read back from disk, grouped into what may stand in one figure."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kd_experiments.config import Config, check, digest
from kd_experiments.errors import UserError
from kd_experiments.reporting.records import method_keys
from kd_experiments.tracking.record import read_record


class Cannot(Exception):
    """A figure that cannot be drawn: why, and the command that changes that."""

    def __init__(self, reason: str, command: str) -> None:
        super().__init__(reason)
        self.command = command


@dataclass(frozen=True)
class Run:
    """A complete run. `config` is what it ran with, its paths pointing to where the record lies now."""

    folder: Path
    record: Mapping[str, Any]
    config: Config
    history: pd.DataFrame  # one row an epoch, indexed by the epoch counted from 1

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def method(self) -> str:
        return self.config.method.name

    def measured(self, column: str) -> bool:
        """Whether the history has a column."""
        return column in self.history.columns


def read_runs(results: Path) -> tuple[list[Run], list[str]]:
    """Every complete run below `results`, by signature, and a line for each record that this code cannot read."""
    runs, complaints = [], []
    for path in sorted(results.glob("runs/*/record.json")):
        try:
            record = read_record(path)
            if record is not None and record["status"] == "complete":
                runs.append(_read(path.parent, record, results))
        except (UserError, OSError, KeyError, TypeError, ValueError) as error:
            complaints.append(f"left out {path}: {error if isinstance(error, UserError) else repr(error)}")
    return runs, complaints


def _read(folder: Path, record: Mapping[str, Any], results: Path) -> Run:
    given = record["config"]
    here = {"results": str(results), "teachers": str(results / "teachers")}
    root = given["dataset"]["root"]
    if root is not None and not Path(root).exists():  # a folder of the machine that made the record
        root = None
    config = check({**given, "paths": here, "dataset": {**given["dataset"], "root": root, "download": False}})
    history = pd.read_csv(folder / "history.csv")
    history.index = pd.Index(history["epoch"].astype(int) + 1, name="epoch")
    return Run(folder, record, config, history)


@dataclass(frozen=True)
class Setting:
    """Runs that may be compared: same data, label noise, teacher, student and recipe."""

    runs: tuple[Run, ...]
    slug: str  # for file names
    title: str  # for people


def settings(runs: Iterable[Run], aspect: Callable[[Run], str]) -> list[Setting]:
    """Group runs by setting, and by `aspect` where a figure shows one aspect at a time.

    Runs that need no teacher belong to every setting that differs in its teacher alone.
    """
    stages: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        stages[digest({"stage": _stage(run), "aspect": aspect(run)})].append(run)
    found = []
    for stage, members in stages.items():
        taught: dict[str, list[Run]] = defaultdict(list)
        for run in members:
            if run.config.source == "teacher":
                taught[digest(_teacher(run))].append(run)
        alone = [run for run in members if run.config.source != "teacher"]
        for teacher, pupils in (taught or {"": []}).items():
            group = tuple(sorted([*pupils, *alone], key=lambda run: run.folder.name))
            found.append(_setting(group, digest({"stage": stage, "teacher": teacher})))
    return sorted(found, key=lambda setting: setting.slug)


def _stage(run: Run) -> dict[str, Any]:
    """What must be the same for two runs to be compared, whoever teaches."""
    given = run.config.given
    dataset = {key: value for key, value in given["dataset"].items() if key not in ("root", "download")}
    return {"dataset": dataset} | {key: given[key] for key in ("label_noise", "student", "recipe")}


def _teacher(run: Run) -> dict[str, Any]:
    """What makes a teacher another one; its snapshots do not."""
    return {key: value for key, value in run.config.given["teacher"].items() if key != "snapshots"}


def _setting(runs: tuple[Run, ...], signature: str) -> Setting:
    config, sources = runs[0].config, {run.config.source for run in runs}
    network = next((run.config.teacher.network for run in runs if run.config.source == "teacher"), None)
    teacher = network or ("peers" if sources == {"peer"} else "no_teacher")
    noise = {key: value for key, value in config.given["label_noise"].items() if key != "seed"}
    noisy = "" if noise["name"] == "none" else f"-{noise['name']}{noise.get('rate', '')}"
    slug = f"{config.dataset.name}-{teacher}-{config.student.network}{noisy}-{signature[:6]}"
    parts = [f"{config.dataset.name}, {runs[0].record['data']['train']:,} training images"]
    if noisy:
        parts.append(f"{noise['name']} label noise {noise.get('rate', '')}".rstrip())
    parts.append(f"{network} teaches {config.student.network}" if network else f"student {config.student.network}")
    recipe = config.recipe
    parts.append(f"{recipe.epochs} epochs" if recipe.iterations is None else f"{recipe.iterations} iterations")
    return Setting(runs, slug, "; ".join(parts))


@dataclass(frozen=True)
class Variant:
    """The same method with the same hyper-parameters under several seeds."""

    name: str
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        return f"{self.name} (n = {len(self.runs)})"


def variants(runs: Iterable[Run]) -> list[Variant]:
    """Group runs by everything but the seed; variants of one method are told apart by what differs.

    Baselines come first, then KD.
    """
    groups: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in runs:
        groups[digest(method_keys(run.config.given))][run.seed] = run
    by_method: dict[str, list[tuple[Run, ...]]] = defaultdict(list)
    for group in groups.values():
        members = tuple(group[seed] for seed in sorted(group))
        by_method[members[0].method].append(members)
    found = []
    for method, alike in by_method.items():
        keys = [method_keys(members[0].config.given) for members in alike]
        every = dict.fromkeys(key for own in keys for key in own)  # a choice may bring keys that another lacks
        differing = [key for key in every if len({str(own.get(key)) for own in keys}) > 1]
        for members, own in zip(alike, keys, strict=True):
            details = ", ".join(f"{key.removesuffix('.name')}={own[key]}" for key in differing if key in own)
            found.append(Variant(f"{method}, {details}" if details else method, members))
    return sorted(found, key=lambda variant: (not variant.name.startswith("none"), variant.name != "kd", variant.name))


def over_seeds(runs: Sequence[Run], column: Callable[[pd.DataFrame], pd.Series]) -> pd.DataFrame:
    """Mean and sample standard deviation over seeds of a figure of the history, at the epochs that measured it."""
    table = pd.concat([column(run.history) for run in runs], axis=1).dropna(how="all")
    return pd.DataFrame({"mean": table.mean(axis=1), "sd": table.std(axis=1, ddof=1).fillna(0.0)})


def again(run: Run, *changes: str) -> str:
    """The command that repeats a run exactly, from the configuration beside its record, but for `changes`."""
    results, recorded = run.config.results, run.record["config"]["paths"]["results"]
    paths = [] if str(results) == recorded else [f"paths.results={results}", f"paths.teachers={results / 'teachers'}"]
    quiet = ["hydra/job_logging=none", f"hydra.run.dir={results}", "hydra.output_subdir=null"]
    source = ["-cp", str(run.folder.resolve()), "-cn", "config"]
    return shlex.join(["python", "-m", "kd_experiments", *source, "rerun=true", *changes, *paths, *quiet])
