"""What a run is: its signature, a digest of everything that changes its result and of nothing else.

Every key counts but those in `EXCLUDED`, so a new key counts by itself. Values are those the schema has converted,
`auto` is resolved, what a configuration does not use is left out (`config.what_counts`), data of the user's own are
named by their content, and the user's own modules by their source. What changes bits and cannot be known in advance
(CPU kernels, threads, versions, this package's own code) stands in the record instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kd_experiments import digests
from kd_experiments.config import Config, Parts, Values, capabilities, what_counts
from kd_experiments.data.content import content_of
from kd_experiments.data.load import READERS
from kd_experiments.distillers import DISTILLERS
from kd_experiments.networks.registry import find, find_module
from kd_experiments.schema import parameters, registry_of
from kd_experiments.teachers.checkpoint_file import fingerprint, told_of
from kd_experiments.training import devices

# Raise this when a change of the code changes what a configuration computes: old runs are then not taken for new ones.
RESULTS_VERSION = 2

# Keys that cannot change a result, and why.
EXCLUDED = {
    "rerun": "asks for the same run again",
    "device": "where it is computed; the record has it",
    "threads": "as above",
    "capture": "a replayed step does what the written one does",
    "snapshots": "further files of the same training",
    "samples": "as above",
    "paths": "where files are",
    "tracking": "who is told",
    "plug_in": "a name for parts, which count themselves",
    "method.name": "a method is what its parts do",
    "recipe.name": "a recipe is its values",
    "teacher.recipe.name": "as above",
    "dataset.root": "data are named by their content",
    "dataset.download": "where they come from",
    "dataset.skip_corrupt": "false ends the run unless there is nothing to skip",
    "dataset.workers": "who decodes",
    "teacher.seen_val": "what is known of a checkpoint, not what it is",
    "teacher.table": "where its answers are kept",
    "teacher.table_budget": "as above",
}


def run_identity(config: Config) -> Values:
    """Everything that makes this run's result, nested as the configuration is."""
    kept = _counting(config)
    if "teacher" in kept:
        kept["teacher"] = _teacher(kept["teacher"], config)
    return kept


def teacher_identity(config: Config) -> Values:
    """Everything that makes a teacher and what is measured of it; how its answers are kept is no part of it."""
    kept = _counting(config, always="teacher")
    teacher = _teacher(kept["teacher"], config)
    teacher.pop("table_dtype", None)
    if config.teacher.checkpoint is None:
        teacher["snapshots"] = config.teacher.snapshots
    shared = ("dataset", "label_noise", "precision", "version")
    own = {place: digest for place, digest in kept.get("own_code", {}).items() if place in (*shared, "teacher")}
    return {key: kept[key] for key in shared} | {"teacher": teacher} | ({"own_code": own} if own else {})


def signature(config: Config) -> str:
    """Names the run, 16 hexadecimal digits."""
    return digests.of_values(run_identity(config))


def teacher_signature(config: Config) -> str:
    """Names the teacher of this configuration, 16 hexadecimal digits."""
    return digests.of_values(teacher_identity(config))


def used_code(config: Config) -> dict[str, str]:
    """The package's modules that a run uses -> digest of their source; those that only tell of it are left out."""
    kept = what_counts(config.values)
    chosen = [find(kept[place]["network"]) for place in ("teacher", "student", "peer") if place in kept]
    networks = [find_module(entry).__name__ for entry in chosen]
    modules = ["kd_experiments.students.making", "kd_experiments.data.load", "kd_experiments.training.session"]
    modules += ["kd_experiments.teachers.obtain"] * ("teacher" in kept)
    distiller = DISTILLERS[config.method.distiller].__module__
    used = digests.of_modules([*modules, *networks, distiller])
    telling = ("cli", "tracking", "config", "identity", "naming", "errors", "schema", "digests")
    return {name: digest for name, digest in used.items() if name.split(".")[0] not in telling}


def _counting(config: Config, always: str | None = None) -> Values:
    """The values that count, with data and own code by content."""
    present = capabilities(config.values) | ({always} if always is not None else set())
    kept = without(what_counts(config.values, frozenset(present)))
    if "selection" in kept and config.selection.is_everyone:
        kept["selection"] = {"name": "none"}  # a ratio of 1 selects nobody out
    for place in ("student", "peer"):
        if place in kept and kept[place]["checkpoint"] is not None:
            with told_of(f"{place}.checkpoint"):
                kept[place]["checkpoint"] = fingerprint(Path(kept[place]["checkpoint"]))
    content = content_of(config.dataset, config.data_folder)
    if content is not None:
        kept["dataset"]["content"] = content
    kept["precision"] = devices.resolved_precision(config.precision, config.device)
    kept["version"] = RESULTS_VERSION
    own = _own_code(kept)
    return kept | ({"own_code": own} if own else {})


def _teacher(kept: Values, config: Config) -> Values:
    kept = {key: value for key, value in kept.items() if key not in ("mean", "std") or value is not None}
    if config.teacher.checkpoint is None:
        return kept
    return kept | {"checkpoint": fingerprint(Path(config.teacher.checkpoint))}


def _own_code(kept: Values) -> dict[str, str]:
    """The source of every chosen part that is the user's own."""
    classes: dict[str, Any] = {
        group: registry[kept[group]["name"]]
        for group, annotation in parameters(Parts).items()
        if group in kept and (registry := registry_of(annotation)) is not None
    }
    classes["dataset"] = READERS.get(kept["dataset"]["name"], classes["dataset"])  # who reads it, not its settings
    classes["method"] = DISTILLERS[kept["method"]["distiller"]]
    own = {
        place: digests.own_source(cls.__module__) for place, cls in classes.items() if digests.is_own(cls.__module__)
    }
    for place in ("teacher", "student", "peer"):
        if place in kept:
            entry = find(kept[place]["network"])
            if digests.is_own(entry.module):
                own[place] = digests.own_source(find_module(entry).__name__)
    return own


def without(nested: Mapping[str, Any], excluded: Mapping[str, str] = EXCLUDED, prefix: str = "") -> Values:
    """Nested values without the excluded dotted keys."""
    return {
        key: without(value, excluded, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in nested.items()
        if f"{prefix}{key}" not in excluded
    }
