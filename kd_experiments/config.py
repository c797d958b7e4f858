"""The typed configuration of a run, the checks across its parts, and its signature.

Types and ranges of single values are checked by `schema.build`; what makes no sense together is refused here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from kd_experiments.data.label_noise import NOISES, LabelNoise
from kd_experiments.data.settings import DATASETS, DatasetConfig
from kd_experiments.distillers import DISTILLERS
from kd_experiments.distillers.base import Distiller
from kd_experiments.errors import UserError, did_you_mean, no_such_choice
from kd_experiments.networks.registry import names as network_names
from kd_experiments.schema import Count, Interval, NonNegative, Positive, Seed, build, parameters
from kd_experiments.supervision.label_loss import LABEL_LOSSES, LabelLoss
from kd_experiments.supervision.revision import REVISIONS, Revision
from kd_experiments.supervision.selection import SELECTIONS, Selection
from kd_experiments.supervision.temperature import TEMPERATURES, ConstantTemperature, Temperature
from kd_experiments.supervision.weighting import WEIGHTINGS, Weighting
from kd_experiments.teachers.checkpoint_file import fingerprint
from kd_experiments.training.devices import Precision
from kd_experiments.training.recipe import Recipe

# Raise this when a change of the code changes what a configuration computes: old runs are then not taken for new ones.
RESULTS_VERSION = 1


@dataclass(frozen=True)
class PathsConfig:
    """`paths.*`; a run writes only below `results`, and the teachers it trains below `teachers`."""

    results: str
    teachers: str


@dataclass(frozen=True)
class NetworkConfig:
    """`student.*` and `peer.*`."""

    network: str

    def __post_init__(self) -> None:
        if self.network not in network_names():
            raise no_such_choice("network", self.network, network_names())


@dataclass(frozen=True)
class TeacherConfig:
    """`teacher.*`: which network, either a checkpoint or a recipe to train it with, and where its answers are kept.

    `table` is where: `disk`, shared by all runs with this teacher; `memory` of the device, for one run; `off`, nowhere;
    `auto`, on disk if it fits `table_budget` GiB, else nowhere. float16 halves it, and rounds the teacher's logits.
    """

    network: str
    checkpoint: str | None
    seed: Seed
    snapshots: Annotated[int, Interval(at_least=0)]  # kept along the training, for selection=tracin
    table: Literal["auto", "memory", "disk", "off"]
    table_dtype: Literal["float32", "float16"]
    table_budget: Positive
    recipe: Recipe

    def __post_init__(self) -> None:
        if self.network not in network_names():
            raise no_such_choice("teacher.network", self.network, network_names())


@dataclass(frozen=True)
class TrackingConfig:
    """`tracking.*`: Weights & Biases."""

    mode: Literal["disabled", "offline", "online"]
    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...]


@dataclass(frozen=True)
class MethodConfig:
    """`method.*`: what every method has. The distiller's own hyper-parameters stand beside these."""

    name: str
    distiller: str
    source: Literal["teacher", "peer"]
    label_weight: NonNegative
    label_rows: Literal["all", "right"]
    weight: NonNegative
    warm_up_epochs: Annotated[int, Interval(at_least=0)]
    kd_weight: NonNegative
    standardise: bool
    temperature: Positive


@dataclass(frozen=True)
class Parts:
    """Everything but the method, as objects."""

    seed: Seed
    rerun: bool
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Count | None
    precision: Precision
    capture: Literal["auto", "off"]
    snapshots: Annotated[int, Interval(at_least=0)]
    paths: PathsConfig
    dataset: Annotated[DatasetConfig, DATASETS]
    label_noise: Annotated[LabelNoise, NOISES]
    teacher: TeacherConfig
    student: NetworkConfig
    peer: NetworkConfig
    revision: Annotated[Revision, REVISIONS]
    selection: Annotated[Selection, SELECTIONS]
    weighting: Annotated[Weighting, WEIGHTINGS]
    temperature: Annotated[Temperature, TEMPERATURES]
    label_loss: Annotated[LabelLoss, LABEL_LOSSES]
    plug_in: str  # which parts were put on top of the method's own; what it sets is in the signature, its name is not
    recipe: Recipe
    tracking: TrackingConfig


@dataclass(frozen=True)
class Config(Parts):
    """A checked configuration. `given` is the same as plain values, for the record."""

    method: MethodConfig
    distiller_options: Mapping[str, Any]
    given: Mapping[str, Any]

    @property
    def source(self) -> Literal["none", "teacher", "peer"]:
        """Who supervises besides the label."""
        return self.method.source if DISTILLERS[self.method.distiller].needs_source else "none"

    def make_distiller(self) -> Distiller:
        """A fresh distiller; mutual learners need one each."""
        return build(DISTILLERS[self.method.distiller], self.distiller_options, "method")

    @property
    def uses_temperature(self) -> bool:
        """Does any term compare softened predictions?"""
        return DISTILLERS[self.method.distiller].uses_temperature or self.method.kd_weight > 0

    @property
    def reads_logits(self) -> bool:
        """Does any term read what the source predicts? A feature distiller without a KD term does not."""
        return not DISTILLERS[self.method.distiller].needs_features or self.method.kd_weight > 0

    @property
    def distillation_temperature(self) -> Temperature:
        """The temperature part; 1 where there is none, so that revisions agree with what is compared."""
        return self.temperature if self.uses_temperature else ConstantTemperature(1.0)

    @property
    def results(self) -> Path:
        return Path(self.paths.results)

    @property
    def data_folder(self) -> Path:
        """Where downloads are kept."""
        return self.results / "data"

    def what_matters(self) -> dict[str, Any]:
        """The part of the configuration that changes the student's result."""
        kept = {key: self.given[key] for key in ("seed", "dataset", "label_noise", "student", "label_loss", "recipe")}
        kept["dataset"] = self._data_matters()
        kept["recipe"] = _without(kept["recipe"], "name")
        kept["version"] = RESULTS_VERSION
        kept |= self._precision_matters()
        # older runs do not know these keys
        unsaid = [key for key in ("standardise", "warm_up_epochs") if not self.given["method"][key]]
        kept["method"] = _without(self.given["method"], "name", "temperature", *unsaid)
        if self.uses_temperature:
            kept["temperature"] = self.given["temperature"]
        if self.source == "none":
            return kept | {"method": _without(kept["method"], "source", "label_rows")}
        kept |= {key: self.given[key] for key in ("revision", "selection", "weighting")}
        if self.source == "peer":
            return kept | {"peer": self.given["peer"]}
        if self.teacher.table_dtype != "float32":
            kept["table_dtype"] = self.teacher.table_dtype  # rounded answers are other answers
        return kept | {"teacher": self.teacher_matters()}

    def teacher_matters(self) -> dict[str, Any]:
        """The part of the configuration that changes the teacher, or what it is measured on."""
        kept: dict[str, Any] = {
            "network": self.teacher.network,
            "dataset": self._data_matters(),
            "label_noise": self.given["label_noise"],
            "version": RESULTS_VERSION,
            **self._precision_matters(),
        }
        if self.teacher.checkpoint is not None:
            return kept | {"checkpoint": fingerprint(Path(self.teacher.checkpoint))}
        return kept | {"recipe": _without(self.given["teacher"]["recipe"], "name"), "seed": self.teacher.seed}

    def _precision_matters(self) -> dict[str, str]:
        """Nothing for `auto`, which older runs do not know."""
        return {} if self.precision == "auto" else {"precision": self.precision}

    def _data_matters(self) -> dict[str, Any]:
        """Where the data are and who decodes them does not matter, except that a user's own folder has no other name
        than its path.
        """
        # skip_corrupt neither: with false a run ends unless there is nothing to skip, and then true is the same.
        kept = _without(self.given["dataset"], "root", "download", "skip_corrupt", "workers")
        if self.dataset.name in ("image_folder", "image_folder_streamed") and self.dataset.root is not None:
            kept["root"] = str(Path(self.dataset.root).expanduser().resolve())
        return kept

    def signature(self) -> str:
        """Names the run: 16 hexadecimal digits of what changes its result."""
        return digest(self.what_matters())

    def teacher_signature(self) -> str:
        return digest(self.teacher_matters())


def digest(content: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON text, 16 hexadecimal digits."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check(given: Mapping[str, Any]) -> Config:
    """Check a composed, resolved configuration; raises `UserError` with one clear sentence."""
    given = _without(given, "table")  # a sweep's file says how its table is laid out; nothing of a run
    known = [*parameters(Parts), "method"]
    for key in given:
        if key not in known:
            raise UserError(f"{key}: no such key{did_you_mean(str(key), flat_keys(given, known))}")
    method, options = _check_method(given.get("method", {}))
    parts = build(Parts, {key: value for key, value in given.items() if key != "method"}, "")
    config = Config(
        **{name: getattr(parts, name) for name in parameters(Parts)},
        method=method,
        distiller_options=options,
        given=given,
    )
    _check_together(config)
    return config


def flat_keys(given: Mapping[str, Any], known: list[str]) -> list[str]:
    """Dotted names of every known key, for suggestions."""
    keys: list[str] = []
    for key in known:
        value = given.get(key)
        keys += [f"{key}.{inner}" for inner in flat_keys(value, list(value))] if isinstance(value, Mapping) else [key]
    return keys


def _check_method(given: Mapping[str, Any]) -> tuple[MethodConfig, dict[str, Any]]:
    """Divide `method.*` between what every method has and its distiller's hyper-parameters."""
    common = parameters(MethodConfig)
    distiller = given.get("distiller")
    if not isinstance(distiller, str):
        raise UserError(f"method.distiller={distiller}: expected one of {', '.join(DISTILLERS)}")
    own = parameters(DISTILLERS[distiller])
    for key in given:
        if key not in common and key not in own:
            full = f"method.{key}"
            raise UserError(f"{full}: no such key{did_you_mean(full, [f'method.{k}' for k in [*common, *own]])}")
    options = {key: given[key] for key in given if key in own}
    build(DISTILLERS[distiller], options, "method")  # names, types and ranges
    return build(MethodConfig, {key: given[key] for key in given if key in common}, "method"), options


def _check_together(config: Config) -> None:
    """Refuse combinations that make no sense."""
    method = config.method.name
    chosen = {
        "revision": not config.revision.is_none,
        "selection": not config.selection.is_none,
        "weighting": not config.weighting.is_none,
        "temperature": not config.temperature.is_none,
    }
    if config.source == "none":
        for part in (part for part, is_chosen in chosen.items() if is_chosen):
            raise UserError(
                f"{part}={config.given[part]['name']}: method={method} has no teacher to apply it to; choose a "
                f"method that distils, such as method=kd, or leave {part} out"
            )
    if config.source == "peer" and config.selection.scored_by_teacher and chosen["selection"]:
        raise UserError(
            f"selection={config.given['selection']['name']}: it is scored by a frozen teacher, but in "
            f"method={method} two networks teach each other; use selection=none or selection=random"
        )
    stage = config.make_distiller().initialisation_epochs
    if stage >= config.recipe.epochs:
        raise UserError(
            f"method.initialisation_epochs={stage}: leaves none of recipe.epochs={config.recipe.epochs} to distil; "
            f"give fewer initialisation epochs, or more epochs"
        )
    if config.source == "none" and config.method.kd_weight > 0:
        raise UserError(
            f"method.kd_weight={config.method.kd_weight:g}: method={method} has no teacher; choose one that distils"
        )
    if config.method.standardise and (config.source == "none" or not config.reads_logits):
        raise UserError(
            f"method.standardise=true: method={method} compares no predictions; choose a method that does, such as "
            f"method=kd, or add a KD term to one that compares features with method.kd_weight=0.9"
        )
    if chosen["revision"] and not config.reads_logits:
        raise UserError(
            f"revision={config.given['revision']['name']}: it revises predictions, but method={method} compares "
            f"features; add a KD term with method.kd_weight=0.9, or leave revision out"
        )
    if chosen["temperature"] and not config.uses_temperature:
        raise UserError(
            f"temperature={config.given['temperature']['name']}: method={method} compares without a temperature; "
            f"use it with a method that has one, such as method=kd, or add method.kd_weight=0.9"
        )


def _without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key not in keys}
