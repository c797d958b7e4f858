"""The teacher and the data of a run, as they lie on disk: a figure trains nothing and downloads nothing."""

from __future__ import annotations

import shlex
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from kd_experiments.config import Config
from kd_experiments.data.dataset import Data, Split
from kd_experiments.data.label_noise import LabelNoise
from kd_experiments.data.load import load
from kd_experiments.data.settings import DatasetConfig
from kd_experiments.errors import UserError
from kd_experiments.networks import Network
from kd_experiments.reporting.figures.runs import Cannot, Run, again
from kd_experiments.supervision.influence import Evidence
from kd_experiments.teachers.obtain import Teacher, obtain
from kd_experiments.tracking.progress import Display
from kd_experiments.training import devices
from kd_experiments.training.evaluation import outputs


def teacher_of(run: Run) -> Teacher:
    """The run's teacher with its data; raises `Cannot` where something of it is not on this machine."""
    config = _where_teacher_is(run)
    try:
        data = _data(config.dataset, config.label_noise, config.data_folder)
    except UserError as error:
        raise Cannot(str(error), again(run, "dataset.download=true")) from error
    return obtain(config, data, Display())


def _where_teacher_is(run: Run) -> Config:
    """The run's configuration with `paths.teachers` where its teacher is complete: `obtain` then never trains."""
    try:
        signature = run.config.teacher_signature()
    except UserError as error:  # a checkpoint file that is not on this machine
        raise Cannot(str(error), again(run, "teacher.checkpoint=FILE")) from error
    beside_runs = run.config.paths.teachers
    needed = ["record.json", "outputs.npz", *(["teacher.pt"] if run.config.teacher.checkpoint is None else [])]
    for place in (beside_runs, run.record["config"]["paths"]["teachers"]):  # it may be kept elsewhere on purpose
        if all((Path(place) / signature / name).exists() for name in needed):
            return replace(run.config, paths=replace(run.config.paths, teachers=place))
    folder = Path(beside_runs) / signature
    lacking = ", ".join(name for name in needed if not (folder / name).exists())
    # A teacher without its network counts as trained, since its view table may be all that a run needs.
    command = again(run) if "record.json" in lacking else f"rm {shlex.quote(str(folder))}/record.json && {again(run)}"
    raise Cannot(f"the teacher is not there ({folder} lacks {lacking})", command)


@lru_cache(maxsize=1)
def _data(dataset: DatasetConfig, noise: LabelNoise, data_folder: Path) -> Data:
    device = devices.pick("auto")
    devices.make_deterministic(device, None)
    return load(dataset, noise, data_folder).to(device)


def says(network: Network, data: Data, index: Tensor | None = None) -> Evidence:
    """What a network says about un-augmented training images, all or those at `index` (n,); on the CPU."""
    train = data.train
    if index is not None:
        index = index.to(data.device)
        train = Split(train.images[index], train.labels[index], train.true_labels[index], train.origin[index.cpu()])
    said = outputs(network, data, train)
    return Evidence(said.logits.cpu(), said.embedding.cpu(), said.labels.cpu())


def label_text(data: Data, sample: int) -> str:
    """The label of a training image; where label noise changed it, the true one on a second line."""
    given, true = int(data.train.labels[sample]), int(data.train.true_labels[sample])
    names = data.class_names
    return names[given] if given == true else f"{names[given]}\n(truly {names[true]})"


def wrong_samples(teacher: Teacher) -> Tensor:
    """Training images that the teacher gets wrong, int64 on the CPU."""
    return torch.nonzero(teacher.said["train_wrong"].cpu()).flatten()
