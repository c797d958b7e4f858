"""Complete runs with their configuration and history, grouped into what may stand in one figure."""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kd_experiments.config import Config, check, digest
from kd_experiments.errors import UserError
from kd_experiments.reporting import records
from kd_experiments.reporting.figures.defaults import completed
from kd_experiments.reporting.records import method_keys


class Cannot(Exception):
    """A figure that cannot be drawn: why, and the command that changes that."""

    def __init__(self, reason: str, command: str) -> None:
        super().__init__(reason)
        self.command = command


@dataclass(frozen=True)
class Run:
    """A complete run. `config` is what it ran with, its paths pointing to where the record lies now.

    Of an older record it has the keys that came later too, so its own signatures may be others than the recorded ones.
    """

    folder: Path
    record: Mapping[str, Any]
    config: Config

    @property
    def seed(self) -> int:
        return self.config.seed

    @property
    def method(self) -> str:
        return self.config.method.name

    @cached_property
    def history(self) -> pd.DataFrame:
        """One row an epoch, indexed by the epoch counted from 1."""
        table = pd.read_csv(self.folder / "history.csv")
        table.index = pd.Index(table["epoch"].astype(int) + 1, name="epoch")
        return table

    @cached_property
    def _columns(self) -> frozenset[str]:
        """The first line of the history: of ten thousand runs most are not drawn, and their figures not needed."""
        try:
            with open(self.folder / "history.csv") as file:
                return frozenset(file.readline().strip().split(","))
        except OSError:
            return frozenset()

    def measured(self, column: str) -> bool:
        """Whether the history has a column."""
        return column in self._columns

    @cached_property
    def keys(self) -> dict[str, Any]:
        """The dotted keys of the method and its parts."""
        return method_keys(self.config.given)

    @cached_property
    def variant(self) -> str:
        """Digest of the method with its hyper-parameters."""
        return digest(self.keys)


Setting: TypeAlias = records.Setting[Run]


def read_runs(found: Iterable[records.Run], results: Path) -> tuple[list[Run], list[str]]:
    """The runs below `results` with their configuration, and a line for each whose configuration this code refuses."""
    runs, complaints = [], []
    checked: dict[str, Config] = {}
    for each in found:
        folder = results / "runs" / each.signature
        try:
            runs.append(Run(folder, each.record, _config(each.record["config"], results, checked)))
        except (UserError, KeyError, TypeError, ValueError) as error:
            reason = error if isinstance(error, UserError) else repr(error)
            complaints.append(f"left out {folder / 'record.json'}: {reason}")
    return runs, complaints


def _config(given: Mapping[str, Any], results: Path, checked: dict[str, Config]) -> Config:
    """A record's configuration; `checked` holds those of the runs before, since many differ in the seed alone."""
    here = {"results": str(results), "teachers": str(results / "teachers")}
    root = given["dataset"]["root"]
    if root is not None and not Path(root).exists():  # a folder of the machine that made the record
        root = None
    given = {**given, "paths": here, "dataset": {**given["dataset"], "root": root, "download": False}}
    key = digest({name: value for name, value in given.items() if name != "seed"})
    if key not in checked:
        checked[key] = _checked(given)
    same = checked[key]
    return replace(same, seed=given["seed"], given={**same.given, "seed": given["seed"]})


def _checked(given: Mapping[str, Any]) -> Config:
    """The configuration of a record; one that lacks keys added later gets them as their choice has them today."""
    try:
        return check(given)
    except UserError as error:
        try:
            return check(completed(given))
        except (HydraException, OmegaConfBaseException):  # a choice that is gone
            raise error from None


def settings(runs: Iterable[Run], aspect: Callable[[Run], str] | None = None) -> list[Setting]:
    """Group runs by setting, and by `aspect` where a figure shows one aspect at a time."""
    if aspect is None:
        return records.settings(runs)
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        groups[digest({"aspect": aspect(run)})[:4]].append(run)
    found = [
        replace(setting, slug=f"{setting.slug}-{name}")
        for name, members in groups.items()
        for setting in records.settings(members)
    ]
    return sorted(found, key=lambda setting: setting.slug)


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
        groups[run.variant][run.seed] = run
    by_method: dict[str, list[tuple[Run, ...]]] = defaultdict(list)
    for group in groups.values():
        members = tuple(group[seed] for seed in sorted(group))
        by_method[members[0].method].append(members)
    found = []
    for method, alike in by_method.items():
        keys = [members[0].keys for members in alike]
        differing = varied(keys)
        if len({tuple(str(own[key]) for key in differing) for own in keys}) < len(keys):
            every = dict.fromkeys(key for own in keys for key in own)  # a choice may bring keys that another lacks
            differing = [key for key in every if len({str(own.get(key)) for own in keys}) > 1]
        for members, own in zip(alike, keys, strict=True):
            details = ", ".join(f"{key.removesuffix('.name')}={own[key]}" for key in differing if key in own)
            found.append(Variant(f"{method}, {details}" if details else method, members))
    return sorted(found, key=lambda variant: (not variant.name.startswith("none"), variant.name != "kd", variant.name))


def varied(own: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys that all variants have and that differ, but for those that follow from another one."""
    shared = [key for key in own[0] if all(key in keys for keys in own)]
    values = {key: [str(keys[key]) for keys in own] for key in shared}
    kept: list[str] = []
    for key in sorted(shared, key=lambda key: -len(set(values[key]))):
        follows = (len(set(zip(values[key], values[other], strict=True))) == len(set(values[other])) for other in kept)
        if len(set(values[key])) > 1 and not any(follows):
            kept.append(key)
    return [key for key in shared if key in kept]


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
