"""What became of every training image of a run: what the teacher says of it, whether it was taught, what was learnt."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kd_experiments import files
from kd_experiments.cli import layers
from kd_experiments.config import Config
from kd_experiments.data.dataset import Data
from kd_experiments.data.load import load
from kd_experiments.errors import UserError
from kd_experiments.schema import build_choice
from kd_experiments.supervision.selection import SELECTIONS, Influence, Selection
from kd_experiments.teachers.making import load_snapshot_network
from kd_experiments.teachers.obtain import Teacher
from kd_experiments.tracking.record import RunFolder
from kd_experiments.training import devices
from kd_experiments.training.evaluation import outputs

NAME = "samples.csv"
Columns = dict[str, list[int] | list[float]]


def write(config: Config, folder: RunFolder, teacher_of: Callable[[Data], Teacher]) -> None:
    """Write `samples.csv` of a complete run, one row a training image, un-augmented:

    index               place in the data set as it is stored (the original training set)
    label               true label; given_label: the one trained with (another where label noise flipped it)
    student_prediction  arg max of the student's logits

    and with a teacher, of its logits at temperature 1 and before any revision:

    teacher_prediction, p_label (probability of the given label), p_prediction, wrong (prediction is not the given
    label), selected (may it teach this image?), revised, influence (the score by which
    `selection=influence` orders images, lowest first; absent where the logits do not come from a linear layer)

    Truth values are 0 and 1. Raises `UserError` where the run has no student.
    """
    device = devices.pick(config.device)
    devices.make_deterministic(device, config.threads, config.precision)  # as the run was made
    data = load(config.dataset, config.label_noise, config.data_folder).to(device)
    columns: Columns = {
        "index": data.train.origin.tolist(),
        "label": data.train.true_labels.tolist(),
        "given_label": data.train.labels.tolist(),
    }
    if config.source == "teacher":
        columns |= _of_teacher(config, folder, teacher_of(data), data)
    kept = files.load_own(folder.student)
    if kept is None:
        raise UserError(f"{folder.student}: there is no student; the run must be complete (rerun=true repeats it)")
    student = load_snapshot_network(config.student.network, data, kept["model"])
    columns["student_prediction"] = outputs(student, data, data.train).logits.argmax(1).tolist()
    folder.write_columns(NAME, columns)


def _of_teacher(config: Config, folder: RunFolder, teacher: Teacher, data: Data) -> Columns:
    said = outputs(teacher.network, data, data.train)
    probabilities = said.logits.softmax(1)
    predicted = probabilities.argmax(1)
    wrong = predicted != data.train.labels
    selected = _selected(config, folder, teacher, data)
    revised = torch.zeros_like(wrong) if config.revision.is_none else wrong & selected
    found: Columns = {
        "teacher_prediction": predicted.tolist(),
        "p_label": probabilities.gather(1, data.train.labels[:, None])[:, 0].tolist(),
        "p_prediction": probabilities.gather(1, predicted[:, None])[:, 0].tolist(),
        "wrong": wrong.int().tolist(),
        "selected": selected.int().tolist(),
        "revised": revised.int().tolist(),
    }
    if said.embedding.shape[1]:
        found["influence"] = teacher.selection_scores(_influence(config)).tolist()
    return found


def _influence(config: Config) -> Selection:
    """The run's own way to score by influence, or else that of `selection=influence`."""
    if isinstance(config.selection, Influence):
        return config.selection
    return build_choice(SELECTIONS, layers.choice_values("selection", "influence", config.values), "selection")


def _selected(config: Config, folder: RunFolder, teacher: Teacher, data: Data) -> Tensor:
    """Whom the teacher taught, (N,) bool, as the run wrote it down; where that is damaged, as it would again."""
    everyone = torch.ones(len(data.train), dtype=torch.bool, device=data.device)
    if config.selection.is_everyone:
        return everyone
    kept = files.read_table(folder.path / "selected.csv")
    if kept is None:
        mask = config.selection.mask(teacher.selection_scores(config.selection))
        folder.write_columns("selected.csv", {"training_image": data.train.origin[mask].tolist()})
        return mask.to(data.device).bool()
    chosen = [int(line) for line in kept.split()[1:]]
    return torch.isin(data.train.origin.to(data.device), torch.tensor(chosen, device=data.device))
