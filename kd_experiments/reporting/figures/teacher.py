"""The teacher and the data of a run, as they lie on disk: a figure trains nothing and downloads nothing."""

from __future__ import annotations

import shlex
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from kd_experiments.data.dataset import Data, Split
from kd_experiments.data.label_noise import LabelNoise
from kd_experiments.data.load import load
from kd_experiments.data.settings import DatasetConfig
from kd_experiments.errors import UserError
from kd_experiments.networks import Network
from kd_experiments.reporting.figures.runs import Cannot, Run, again
from kd_experiments.supervision.influence import SplitOutputs
from kd_experiments.teachers.obtain import Teacher
from kd_experiments.tracking.display import Display
from kd_experiments.training import devices
from kd_experiments.training.evaluation import outputs


def teacher_of(run: Run) -> Teacher:
    """The run's teacher with its data; raises `Cannot` where something of it is not on this machine."""
    config = run.config
    folder = teacher_folder(run, *([] if config.teacher.checkpoint is not None else ["teacher.pt"]))
    if config.teacher.checkpoint is not None and not Path(config.teacher.checkpoint).exists():
        raise Cannot(f"{config.teacher.checkpoint}: no such file", again(run, "teacher.checkpoint=FILE"))
    return Teacher(config, data_of(run), folder, Display())


def teacher_folder(run: Run, *also: str) -> Path:
    """Where the run's teacher is complete, with the files `also`: a teacher found there is never trained.

    It is looked for by the signature in the record, beside the runs and where the record says it was.
    """
    signature = run.record["teacher"]["signature"]
    beside_runs = Path(run.config.paths.teachers)
    needed = ["record.json", "outputs.npz", *also]
    for place in (beside_runs, Path(run.record["config"]["paths"]["teachers"])):  # it may be kept elsewhere on purpose
        folder = place / signature
        if all((folder / name).exists() for name in needed):
            return folder
    folder = beside_runs / signature
    lacking = ", ".join(name for name in needed if not (folder / name).exists())
    # A teacher without its network counts as trained, since its view table may be all that a run needs.
    command = again(run) if "record.json" in lacking else f"rm {shlex.quote(str(folder))}/record.json && {again(run)}"
    raise Cannot(f"the teacher is not there ({folder} lacks {lacking})", command)


def data_of(run: Run) -> Data:
    """The run's data; raises `Cannot` where they are not on this machine, or others than the record tells of."""
    config, facts = run.config, run.record["data"]
    try:
        data = _data(config.dataset, config.label_noise, config.data_folder)
    except UserError as error:
        raise Cannot(str(error), again(run, "dataset.download=true")) from error
    there = {"train": len(data.train), "val": len(data.val), "test": len(data.test), "classes": data.classes}
    for name, count in there.items():
        if count != facts[name]:
            reason = f"the data are not those of run {run.record['signature']}: {name} is {count}, it was {facts[name]}"
            raise Cannot(reason, again(run))
    return data


@lru_cache(maxsize=1)
def _data(dataset: DatasetConfig, noise: LabelNoise, data_folder: Path) -> Data:
    device = devices.pick("auto")
    devices.make_deterministic(device, None)
    return load(dataset, noise, data_folder).to(device)


def predictions(network: Network, data: Data, index: Tensor | None = None) -> SplitOutputs:
    """What a network says about un-augmented training images, all or those at `index` (n,); on the CPU."""
    train = data.train
    if index is not None:
        index = index.to(data.device)
        train = Split(train.images[index], train.labels[index], train.true_labels[index], train.origin[index.cpu()])
    predicted = outputs(network, data, train)
    return SplitOutputs(predicted.logits.cpu(), predicted.embedding.cpu(), predicted.labels.cpu())


def label_text(data: Data, sample: int) -> str:
    """The label of a training image; where label noise changed it, the true one on a second line."""
    given, true = int(data.train.labels[sample]), int(data.train.true_labels[sample])
    names = data.class_names
    return names[given] if given == true else f"{names[given]}\n(truly {names[true]})"


def wrong_samples(teacher: Teacher) -> Tensor:
    """Training images that the teacher gets wrong, int64 on the CPU."""
    return torch.nonzero(teacher.outputs["train_wrong"].cpu()).flatten()
