"""What the record of a run says, as the run comes to know it: the run itself, its data, its teacher, who is taught."""

from __future__ import annotations

import datetime
from collections.abc import Sequence

import torch
from torch import Tensor

from kd_experiments import identity, naming
from kd_experiments.config import Config
from kd_experiments.data.dataset import Data
from kd_experiments.teachers.obtain import Teacher
from kd_experiments.tracking.machine import machine
from kd_experiments.tracking.record import (
    SCHEMA,
    DataFacts,
    Record,
    RevisionFacts,
    RunFolder,
    SelectionFacts,
)


def of_run(config: Config, folder: RunFolder, device: torch.device, typed: Sequence[str], sweep: str | None) -> Record:
    """The record of a run that begins."""
    return Record(
        schema=SCHEMA,
        signature=folder.path.name,
        teacher_signature=identity.teacher_signature(config) if config.source == "teacher" else None,
        label=naming.label_of(config),
        typed=tuple(typed),
        sweep=sweep,
        status="running",
        started=now(),
        finished=None,
        config=config.values,
        identity=identity.run_identity(config),
        machine=machine(device),
        code=identity.used_code(config),
    )


def of_data(data: Data, record: Record, folder: RunFolder) -> DataFacts:
    """How much there is; which labels were flipped, from what to what, stands in noisy_labels.csv."""
    train = data.train
    flipped = (train.labels != train.true_labels).nonzero().flatten().cpu()
    if len(flipped):
        columns = {"training_image": train.origin, "true_label": train.true_labels, "given_label": train.labels}
        of_flipped = {name: column.cpu()[flipped].tolist() for name, column in columns.items()}
        folder.write_columns("noisy_labels.csv", of_flipped)
    return DataFacts(
        train=len(train),
        val=len(data.val),
        test=len(data.test),
        classes=data.classes,
        noisy_labels=len(flipped),
        noise_share=len(flipped) / len(train),
        content=record.identity["dataset"].get("content"),
    )


def of_selection(config: Config, mask: Tensor, data: Data, folder: RunFolder) -> SelectionFacts:
    """How many samples of `mask`, (N,) bool, are taught; which, stands in selected.csv."""
    folder.write_columns("selected.csv", {"training_image": data.train.origin[mask].tolist()})
    chosen, count = int(mask.sum()), len(mask)
    return SelectionFacts(config.values["selection"]["name"], chosen, count, chosen / count)


def of_revision(config: Config, teacher: Teacher, selected: Tensor | None) -> RevisionFacts:
    """How many training images the teacher gets wrong without augmentation, and how many of them are revised."""
    wrong = teacher.outputs["train_wrong"]
    taught = int((wrong if selected is None else wrong & (selected > 0)).sum())
    revised = 0 if config.revision.is_none else taught
    return RevisionFacts(config.values["revision"]["name"], int(wrong.sum()), taught, revised)


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
