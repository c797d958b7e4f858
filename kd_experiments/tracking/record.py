"""The record of a run on disk, the truth that tables are made of; reading one imports nothing heavy."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from kd_experiments import files
from kd_experiments.errors import UserError, shortened
from kd_experiments.schema import Count, construct_part, typed, typed_part

SCHEMA = 2
_SIGNATURE = re.compile(r"[0-9a-f]{16}")
_NESTED = (dict, list)  # as JSON has them
_DEEPEST = 8  # mappings and lists in each other; readers go through them recursively
# What readers take from the mappings of a record, whatever else stands there.
_READ: Mapping[str, Any] = {
    "config.seed": int, "config.precision": str, "config.dataset.name": str, "config.label_noise.name": str,
    "config.student.network": str, "config.method.name": str, "config.recipe.lr": float, "identity.dataset.name": str,
}  # fmt: skip
_READ_OF_COMPLETE: Mapping[str, Any] = {
    "data.test": int, "student.network": str, "timing.train_seconds": float, "timing.images_per_second": float,
    **{f"metrics.test_{name}": float for name in (
        "top1_last", "top1_best_val", "top1_best_test", "nll_last", "ece_last",
    )},
}  # fmt: skip
_READ_BESIDE: Mapping[str, Mapping[str, Any]] = {  # where the first is there
    "peer_test_top1_last": {"config.peer.network": str, "metrics.mean_test_top1_last": float},
    "test_agreement_last": {"metrics.test_inherited_errors_last": float},
}

Status = Literal["running", "complete", "diverged", "failed"]


@dataclass(frozen=True)
class LabelFacts:
    """A run in words: what is compared, the stage it is compared on, its teacher, and which replicate it is."""

    method: str
    stage: str  # data, label noise, student, recipe, number format
    teacher: str | None  # network and how it was trained; None where no frozen teacher is asked
    replicate: str  # every seed

    def __str__(self) -> str:
        return f"{self.method} on {self.setting}, {self.replicate}"

    @property
    def setting(self) -> str:
        """Everything but the method, without seeds."""
        return self.stage if self.teacher is None else f"{self.stage}, taught by {self.teacher}"

    @property
    def seeds(self) -> str:
        """The replicate for a person: the run's seed, and every other that is not 0."""
        return ", ".join(
            part for part in self.replicate.split(", ") if part.startswith("seed=") or not part.endswith("=0")
        )


@dataclass(frozen=True)
class DataFacts:
    """How many images, and how many of the training labels are wrong on purpose."""

    train: int
    val: int
    test: Count
    classes: Count
    noisy_labels: int
    noise_share: float
    content: str | None  # digest of the user's own images


@dataclass(frozen=True)
class TeacherFacts:
    """A teacher as measured on un-augmented images; accuracies in percent, NLL in nats."""

    signature: str
    network: str
    parameters: int
    seed: int | None  # None: it came from a checkpoint
    checkpoint: str | None
    seen_val: Literal["unknown", True, False]  # was the checkpoint trained on images that are held out as val here?
    stated_accuracy: float | None  # what the checkpoint says of itself, in percent
    train_size: int
    train_wrong: int
    train_seconds: float | None
    train_top1: float
    train_top5: float
    train_nll: float
    train_ece: float
    val_top1: float
    val_top5: float
    val_nll: float
    val_ece: float
    test_top1: float
    test_top5: float
    test_nll: float
    test_ece: float


@dataclass(frozen=True)
class SelectionFacts:
    """Whom the teacher taught."""

    strategy: str
    selected: int
    of: int
    share: float


@dataclass(frozen=True)
class RevisionFacts:
    """Training images that the teacher gets wrong, and how many of them were revised."""

    name: str
    wrong: int
    wrong_and_selected: int
    revised: int


@dataclass(frozen=True)
class StudentFacts:
    network: str
    parameters: int


@dataclass(frozen=True)
class Machine:
    """What a result was computed with, as far as it may change bits."""

    cpu: str
    capability: str  # of the CPU's kernels, see `devices.capability`
    device: str
    device_name: str
    threads: int
    processes: int
    python: str
    platform: str
    packages: Mapping[str, str]
    commit: str | None  # of the checkout, `+changes` where package, configuration or own modules differ from it


@dataclass(frozen=True)
class TeacherRecord:
    """What lies beside a trained or loaded teacher, shared by all runs that ask it."""

    schema: int
    facts: TeacherFacts
    identity: Mapping[str, Any]
    machine: Machine


@dataclass(frozen=True)
class Record:
    """One run. What is not known yet is None or empty."""

    schema: int
    signature: str
    teacher_signature: str | None
    label: LabelFacts
    typed: tuple[str, ...]  # what was typed, so that the same can be typed again
    sweep: str | None  # the file below sweeps/ that the run belongs to
    status: Status
    started: str  # UTC
    finished: str | None
    config: Mapping[str, Any]  # every value, converted to its type
    identity: Mapping[str, Any]  # those that count
    machine: Machine
    data: DataFacts | None = None
    teacher: TeacherFacts | None = None
    selection: SelectionFacts | None = None
    revision: RevisionFacts | None = None
    student: StudentFacts | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)  # digest of every module of the package that was used
    error: str | None = None

    @property
    def seed(self) -> int:
        return int(self.config["seed"])

    @property
    def is_done(self) -> bool:
        """Would the same run do nothing new? A diverged run is a result."""
        return self.status in ("complete", "diverged")

    def but(self, **changes: Any) -> Record:
        """The same record with other fields."""
        return replace(self, **changes)


class OtherForm(UserError):
    """A record that another version of the suite wrote."""


def read_record(path: Path) -> Record | None:
    """The record in a file, None where there is none; `UserError`, naming file and field, for one that is damaged."""
    try:
        if not path.is_file():  # a pipe would never end
            return None
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is damaged or no record"
        raise UserError(f"{path}: cannot be read ({reason}); rerun=true makes it anew") from error
    known = content.pop(files.SUM_KEY, None) if isinstance(content, dict) else None
    record = as_record(content, str(path))
    if known != files.sum_of_read(content):
        raise UserError(f"{path}: damaged (its check sum is wrong); rerun=true makes it anew")
    return record


def as_record(content: Any, where: str) -> Record:
    """A record from plain values, every field checked; `UserError` naming the field."""
    if not isinstance(content, dict):
        raise UserError(f"{where}: no record of a run; rerun=true makes it anew")
    if content.get("schema") != SCHEMA:
        raise OtherForm(
            f"{where}: a record of form {shortened(content.get('schema'))}, but this version reads form {SCHEMA}; "
            f"rerun=true makes it anew"
        )
    try:
        record = construct_part(Record, typed_part(Record, content, ""))
        _check_nested(content, record)
    except UserError as error:
        raise UserError(f"{where}: damaged ({error}); rerun=true makes it anew") from error
    return record


def _check_nested(content: Mapping[str, Any], record: Record) -> None:
    """Refuse a record that lacks what its readers take from its mappings, or names another folder than a run's."""
    if not _SIGNATURE.fullmatch(record.signature):
        raise UserError(f"signature={shortened(record.signature)}: expected 16 hexadecimal digits")
    for part in ("config", "identity"):
        if not _is_shallow(content[part]):
            raise UserError(f"{part}: more than {_DEEPEST} mappings or lists in each other")
    for key, names, kind in _needed(record.status, frozenset(_READ_BESIDE.keys() & record.metrics.keys())):
        value: Any = content
        for name in names:
            if not isinstance(value, dict) or name not in value:
                raise UserError(f"{key}: missing")
            value = value[name]
        typed(value, kind, key)


@cache
def _needed(status: str, beside: Collection[str]) -> list[tuple[str, list[str], Any]]:
    """By key, split at its dots, and kind."""
    needed = dict(_READ)
    if status == "complete":
        needed |= _READ_OF_COMPLETE
        for name in beside:
            needed |= _READ_BESIDE[name]
    return [(key, key.split("."), kind) for key, kind in needed.items()]


def _is_shallow(value: Any) -> bool:
    level, levels = [value], _DEEPEST
    while level and levels:
        inner = [one.values() if isinstance(one, dict) else one for one in level]
        level, levels = [one for each in inner for one in each if isinstance(one, _NESTED)], levels - 1
    return not level


def read_teacher_record(path: Path) -> TeacherRecord | None:
    """The record beside a teacher, None where there is none that can be read: the teacher is then measured anew."""
    content = files.read_json(path)
    if content is None:
        return None
    try:
        return construct_part(TeacherRecord, typed_part(TeacherRecord, content, ""))
    except (UserError, TypeError, AttributeError):
        return files.damaged(path)


def every_record(results: Path) -> tuple[list[Record], list[str]]:
    """All records below a results folder, by folder name, and a sentence for each that cannot be read."""
    found, broken = [], []
    for path in sorted((results / "runs").glob("*/record.json"), key=lambda path: path.parent.name):
        try:
            record = read_record(path)
        except UserError as error:
            broken.append(str(error))
            continue
        if record is not None:
            found.append(record)
    return found, broken


class RunFolder:
    """`results/runs/<signature>/`: config.yaml, record.json, history.csv, run.log, checkpoint.pt, student.pt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record_file = path / "record.json"
        self.checkpoint = path / "checkpoint.pt"
        self.student = path / "student.pt"
        self.history_file = path / "history.csv"
        self.log = path / "run.log"

    def read(self) -> Record | None:
        """The record, or None where there is none that can be read: it is then made anew."""
        try:
            return read_record(self.record_file)
        except UserError:
            return files.damaged(self.record_file)

    def done(self) -> Record | None:
        """The record of a run that nobody needs to repeat; a kill may have left what it would have gone on from."""
        record = self.read()
        if record is None or not record.is_done:
            return None
        with contextlib.suppress(OSError):  # somebody else's folder
            self.checkpoint.unlink(missing_ok=True)
        return record

    def write(self, record: Record) -> None:
        files.write_record(self.record_file, record)

    def write_config(self, values: Mapping[str, Any]) -> None:
        files.write_text(self.path / "config.yaml", yaml.safe_dump(dict(values), sort_keys=False))

    def write_history(self, history: Sequence[Mapping[str, float]]) -> None:
        """One row an epoch; a figure that an epoch did not measure stays empty."""
        columns = list(dict.fromkeys(name for row in history for name in row))
        files.write_table(self.history_file, _rows(columns, history))

    def write_columns(self, name: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """A CSV file of equally long columns, with its check sum beside it."""
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        files.write_table(self.path / name, _rows(list(columns), rows))

    def append_log(self, line: str) -> None:
        """One line more in the log, at once, so that it grows while a run works."""
        if not files.is_writer():
            return
        with files.told_plainly(self.log):
            self.path.mkdir(parents=True, exist_ok=True)
            with open(self.log, "a", encoding="utf-8") as log:
                log.write(f"{line}\n")

    def forget(self) -> None:
        """Remove what a repeated run must not continue from."""
        snapshots = self.path.glob("snapshot-*.pt")
        for path in (
            self.checkpoint,
            self.record_file,
            self.history_file,
            self.student,
            self.path / "samples.csv",
            *snapshots,
        ):
            path.unlink(missing_ok=True)


def _rows(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
