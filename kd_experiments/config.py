"""The typed configuration of a run and the checks across its parts.

Types and ranges of single values are checked by `schema.typed`; what makes no sense together is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from kd_experiments.data.label_noise import NOISES, LabelNoise
from kd_experiments.data.settings import DATASETS, DatasetConfig
from kd_experiments.distillers import DISTILLERS
from kd_experiments.distillers.base import Distiller
from kd_experiments.errors import UserError, did_you_mean, shortened
from kd_experiments.networks.registry import OWN, TIMM, check_name, find, find_module
from kd_experiments.schema import (
    Epochs,
    Interval,
    NonNegative,
    Positive,
    Seed,
    When,
    construct,
    construct_part,
    flattened,
    meaningful,
    parameters,
    typed_part,
)
from kd_experiments.supervision.label_loss import LABEL_LOSSES, LabelLoss
from kd_experiments.supervision.revision import REVISIONS, Revision
from kd_experiments.supervision.selection import SELECTIONS, Selection
from kd_experiments.supervision.temperature import TEMPERATURES, ConstantTemperature, Temperature
from kd_experiments.supervision.weighting import WEIGHTINGS, Weighting
from kd_experiments.teachers.settings import TeacherConfig
from kd_experiments.tracking.settings import TRACKINGS, TrackingConfig
from kd_experiments.training.devices import Precision
from kd_experiments.training.recipe import Recipe

Values = dict[str, Any]  # a configuration as plain values: texts, numbers, lists and dictionaries of them


_LONGEST = 1000  # bytes of a text; systems allow 4096 of a whole path


@dataclass(frozen=True)
class PathsConfig:
    """`paths.*`; a run writes only below `results`, and the teachers it trains below `teachers`."""

    results: str
    teachers: str


@dataclass(frozen=True)
class NetworkConfig:
    """`student.*` and `peer.*`: which network, and a file with the weights it starts from; null: fresh ones."""

    network: str
    checkpoint: str | None

    def __post_init__(self) -> None:
        check_name("network", self.network)


@dataclass(frozen=True)
class MethodConfig:
    """`method.*`: what every method has. The distiller's own hyper-parameters stand beside these."""

    name: str
    distiller: str
    source: Annotated[Literal["teacher", "peer"], When("source")]
    label_weight: NonNegative
    label_rows: Annotated[Literal["all", "right"], When("source")]
    weight: Annotated[NonNegative, When("distillation")]
    warm_up_epochs: Annotated[Epochs, When("distillation")]
    kd_weight: Annotated[NonNegative, When("source")]
    standardise: Annotated[bool, When("source")]
    temperature: Annotated[Positive, When("nothing")]  # only the default of temperature.value


@dataclass(frozen=True)
class Parts:
    """Everything but the method, as objects."""

    seed: Seed
    rerun: bool
    samples: bool
    device: Literal["auto", "cpu", "cuda", "mps"]
    threads: Annotated[int, Interval(at_least=1, at_most=1024)] | None
    precision: Precision
    capture: Literal["auto", "off"]
    snapshots: Annotated[int, Interval(at_least=0, at_most=10_000)]
    paths: PathsConfig
    dataset: Annotated[DatasetConfig, DATASETS]
    label_noise: Annotated[LabelNoise, NOISES]
    teacher: Annotated[TeacherConfig, When("teacher")]
    student: NetworkConfig
    peer: Annotated[NetworkConfig, When("peer")]
    revision: Annotated[Revision, REVISIONS, When("source")]
    selection: Annotated[Selection, SELECTIONS, When("source")]
    weighting: Annotated[Weighting, WEIGHTINGS, When("source")]
    temperature: Annotated[Temperature, TEMPERATURES, When("temperature")]
    label_loss: Annotated[LabelLoss, LABEL_LOSSES]
    plug_in: str  # which parts were put on top of the method's own
    recipe: Recipe
    tracking: Annotated[TrackingConfig, TRACKINGS]


@dataclass(frozen=True)
class Config(Parts):
    """A checked configuration. `values` is the same as plain values."""

    method: MethodConfig
    distiller_options: Mapping[str, Any]
    values: Values

    @property
    def source(self) -> Literal["none", "teacher", "peer"]:
        """Who supervises besides the label."""
        return self.method.source if DISTILLERS[self.method.distiller].needs_source else "none"

    def make_distiller(self) -> Distiller:
        """A fresh distiller; mutual learners need one each."""
        return construct_part(DISTILLERS[self.method.distiller], self.distiller_options)

    @property
    def uses_temperature(self) -> bool:
        """Does any term compare softened predictions?"""
        return "temperature" in capabilities(self.values)

    @property
    def reads_logits(self) -> bool:
        """Does any term read what the source predicts? A feature distiller without a KD term does not."""
        return DISTILLERS[self.method.distiller].reads_logits() or self.method.kd_weight > 0

    @property
    def distillation_temperature(self) -> Temperature:
        """The temperature part; 1 where there is none, so that revisions agree with what is compared."""
        return self.temperature if self.uses_temperature else ConstantTemperature(1.0)

    @property
    def results(self) -> Path:
        return Path(self.paths.results)

    @property
    def teachers(self) -> Path:
        return Path(self.paths.teachers)

    @property
    def data_folder(self) -> Path:
        """Where downloads are kept."""
        return self.results / "data"


def capabilities(values: Mapping[str, Any]) -> frozenset[str]:
    """What makes keys of this configuration count (see `schema.When`), as its parts declare it."""
    distiller = DISTILLERS[values["method"]["distiller"]]
    present: set[str] = set()
    if distiller.has_terms:
        present.add("distillation")
    if distiller.uses_temperature or values["method"]["kd_weight"] > 0:
        present.add("temperature")
    if distiller.needs_source:
        present |= {"source", values["method"]["source"]}
    if "teacher" in present and distiller.needs != "features":
        present.add("teacher logits")
    if SELECTIONS[values["selection"]["name"]].reads_snapshots:
        present.add("teacher snapshots")
    return frozenset(present)


def what_counts(values: Mapping[str, Any], present: frozenset[str] | None = None) -> Values:
    """The values a configuration uses: the teacher of `method=none` is none of them."""
    present = capabilities(values) if present is None else present
    method = values["method"]
    known = {**parameters(MethodConfig), **parameters(DISTILLERS[method["distiller"]])}
    rest = {key: value for key, value in values.items() if key != "method"}
    return meaningful(rest, parameters(Parts), present) | {"method": meaningful(method, known, present)}


def typed_values(given: Mapping[str, Any]) -> Values:
    """A composed, resolved configuration with every value checked and converted; `UserError` for one that is wrong."""
    # How a sweep's table is laid out is nothing of a run, and own code counts by what it defines.
    given = {key: value for key, value in given.items() if key not in ("table", "imports")}
    known = [*parameters(Parts), "method"]
    for key in given:
        if key not in known:
            told = flattened({name: given.get(name) for name in known})
            raise UserError(f"{shortened(key)}: no such key{did_you_mean(shortened(key), told)}")
    method = typed_method(given.get("method", {}))
    return typed_part(Parts, {key: value for key, value in given.items() if key != "method"}, "") | {"method": method}


def check(given: Mapping[str, Any]) -> Config:
    """Check a composed, resolved configuration; raises `UserError` with one clear sentence."""
    values = typed_values(given)
    _check_texts(values, "")
    method = values["method"]
    own = parameters(DISTILLERS[method["distiller"]])
    config = Config(
        **{name: construct(values[name], annotation) for name, annotation in parameters(Parts).items()},
        method=construct_part(MethodConfig, method),
        distiller_options={key: method[key] for key in own},
        values=values,
    )
    _check_together(config)
    _check_networks(config)
    return config


def typed_method(given: Any) -> Values:
    """`method.*`: what every method has, and beside it its distiller's hyper-parameters."""
    if not isinstance(given, Mapping):
        raise UserError(f"method={shortened(given)}: expected a group of keys; choose one with method=CHOICE")
    distiller = given.get("distiller")
    if not isinstance(distiller, str):
        raise UserError(f"method.distiller={shortened(distiller)}: expected one of {', '.join(DISTILLERS)}")
    common, own = parameters(MethodConfig), parameters(DISTILLERS[distiller])
    for key in given:
        if key not in common and key not in own:
            full = shortened(f"method.{key}")
            raise UserError(f"{full}: no such key{did_you_mean(full, [f'method.{k}' for k in [*common, *own]])}")
    values = typed_part(MethodConfig, {key: given[key] for key in given if key in common}, "method")
    return values | typed_part(DISTILLERS[distiller], {key: given[key] for key in given if key in own}, "method")


def _check_texts(value: Any, where: str) -> None:
    """Refuse text that is no name and no path: files and terminals would choke on it."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_texts(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            _check_texts(inner, f"{where}[{place}]")
    elif isinstance(value, str):
        if not value.isprintable():
            raise UserError(f"{where}={shortened(value)}: holds control characters; give plain text")
        if len(value.encode()) > _LONGEST or any(len(part.encode()) > 255 for part in value.split("/")):
            raise UserError(
                f"{where}={shortened(value)}: too long; give at most {_LONGEST} characters, 255 a file name"
            )
        if where.startswith("paths.") and not value.strip():
            raise UserError(f"{where}=: empty; give a folder, such as paths.results=results")


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
                f"{part}={config.values[part]['name']}: method={method} has no teacher to apply it to; choose a "
                f"method that distils, such as method=kd, or leave {part} out"
            )
    if config.source == "peer" and config.selection.scored_by_teacher and chosen["selection"]:
        raise UserError(
            f"selection={config.values['selection']['name']}: it is scored by a frozen teacher, but in "
            f"method={method} two networks teach each other; use selection=none or selection=random"
        )
    if config.teacher.seen_val != "unknown" and config.teacher.checkpoint is None:
        raise UserError(
            f"teacher.seen_val={str(config.teacher.seen_val).lower()}: it says what a checkpoint has seen, and a "
            f"teacher trained here never sees val; give teacher.checkpoint=FILE, or leave it out"
        )
    _check_teacher_normalisation(config.teacher)
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
            f"revision={config.values['revision']['name']}: it revises predictions, but method={method} compares "
            f"features; add a KD term with method.kd_weight=0.9, or leave revision out"
        )
    if chosen["temperature"] and not config.uses_temperature:
        raise UserError(
            f"temperature={config.values['temperature']['name']}: method={method} compares without a temperature; "
            f"use it with a method that has one, such as method=kd, or add method.kd_weight=0.9"
        )


def _check_networks(config: Config) -> None:
    """Networks that are not the suite's can be imported: told here, before anything is trained."""
    others = {"teacher": [config.teacher.network], "peer": [config.peer.network], "none": []}[config.source]
    for entry in map(find, (config.student.network, *others)):
        if entry.family in (OWN, TIMM):
            find_module(entry)


def _check_teacher_normalisation(teacher: TeacherConfig) -> None:
    """A teacher's own mean and standard deviation belong together, and to a checkpoint."""
    if (teacher.mean is None) != (teacher.std is None):
        given, missing = ("std", "mean") if teacher.mean is None else ("mean", "std")
        raise UserError(f"teacher.{given}: goes with teacher.{missing}; give both, or leave both out")
    if teacher.mean is not None and teacher.checkpoint is None:
        raise UserError(
            "teacher.mean: it says how the images of a checkpoint's training were normalised, and a teacher trained "
            "here sees them as the student does; give teacher.checkpoint=FILE, or leave it out"
        )
