"""Every method file trains three pairs of networks: what moves, what does not, and what a resumed run does."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_experiments.cli.choices import choices
from kd_experiments.config import Config, check
from kd_experiments.data.dataset import Data, MemoryData, Split
from kd_experiments.data.views import Views
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, build
from kd_experiments.students.making import make_learners
from kd_experiments.supervision.selection import NoSelection
from kd_experiments.teachers.frozen import LiveTeacher
from kd_experiments.training.loop import Learner, Training
from tests.conftest import with_method

PAIRS = [("resnet14", "resnet8"), ("wrn_16_1", "vgg8"), ("resnet8x4", "ShuffleV2")]
CLASSES, SAMPLES, BATCH, EPOCHS = 4, 16, 8, 2
SMALL = {"initialisation_epochs": 1, "negatives": 8, "reversal_epochs": 1}
ONE_OF_FOUR = {"ldrld": {"k": 2}}  # of so few classes
SIZE = {"ft": 16}  # vgg8 would shrink 8 pixels to one place, and there all attention is alike


@cache
def data_of(size: int) -> Data:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (SAMPLES, 3, size, size), dtype=torch.uint8, generator=generator)
    labels = torch.arange(SAMPLES) % CLASSES
    split = Split(images, labels, labels, torch.arange(SAMPLES))
    return MemoryData(
        "random", split, split, split, tuple("abcd"), torch.full((3,), 0.5), torch.full((3,), 0.25), Views(1, True)
    )


@cache
def given(method: str) -> dict[str, Any]:
    return with_method(method, "recipe.epochs=240")


def config_of(method: str, teacher: str, student: str) -> Config:
    """The method file on a pair; without weight decay, so that what has no gradient does not move."""
    content = given(method)
    small = {key: value for key, value in SMALL.items() if key in content["method"]} | ONE_OF_FOUR.get(method, {})
    recipe = {"epochs": EPOCHS, "batch_size": BATCH, "lr": 0.01, "weight_decay": 0.0, "warmup_epochs": 0}
    return check(
        content
        | {
            "method": content["method"] | small,
            "recipe": content["recipe"] | recipe,
            "teacher": content["teacher"] | {"network": teacher},
            "student": {"network": student, "checkpoint": None},
            "peer": {"network": student, "checkpoint": None},
        }
    )


@cache
def teacher_of(name: str) -> Network:
    torch.manual_seed(0)
    return build(name, classes=CLASSES, channels=3, size=8).eval()


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {key: tensor.clone() for key, tensor in module.state_dict().items()}


def cancelled_by_a_norm(objective: nn.Module) -> set[str]:
    """Biases whose gradient is zero by design: the batch norm behind their convolution subtracts them again."""
    found = set()
    for name, module in objective.named_modules():
        children = list(module.named_children())
        for (key, first), (_, second) in pairwise(children):
            if isinstance(first, nn.Conv2d | nn.ConvTranspose2d) and isinstance(second, nn.BatchNorm2d):
                found.add(f"{name}.{key}.bias")
    return found


def training_of(config: Config, data: Data, teacher: Network) -> Training:
    taught = config.source == "teacher"
    learners = make_learners(config, data, (lambda: teacher) if taught else None)
    selected = None if isinstance(config.selection, NoSelection) else (torch.arange(SAMPLES) % 5 != 0).float()
    source = LiveTeacher(teacher, data) if taught else None
    return Training(learners, data, config.recipe, 0, source, selected)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
@pytest.mark.parametrize("method", choices()["method"])
def test_it_trains(method: str, pair: tuple[str, str]) -> None:
    config, data = config_of(method, *pair), data_of(SIZE.get(method, 8))
    teacher = teacher_of(pair[0])
    frozen = copied(teacher)
    if config.method.distiller == "fsp" and pair != PAIRS[0]:
        with pytest.raises(UserError, match="equally wide"):
            training_of(config, data, teacher)
        return
    training = training_of(config, data, teacher)
    assert all(torch.equal(tensor, frozen[key]) for key, tensor in teacher.state_dict().items()), "shapes were probed"
    before = [(copied(learner.network), copied(learner.objective)) for learner in training.learners]
    halfway = io.BytesIO()

    def keep(row: dict[str, float]) -> None:
        if training.epoch == 1:
            torch.save(training.state(), halfway)

    training.run(dict, keep)  # refuses terms that are not finite

    stage = config.make_distiller().initialisation_epochs
    assert [row["epoch"] for row in training.history] == list(range(-stage, EPOCHS))
    assert all("loss_label" in row for row in training.history[stage:])
    for learner, (network, objective) in zip(training.learners, before, strict=True):
        assert any(not torch.equal(p, network[key]) for key, p in learner.network.named_parameters())
        excused = cancelled_by_a_norm(learner.objective)
        still = {key for key, p in learner.objective.named_parameters() if torch.equal(p, objective[key])}
        assert still <= excused, f"declared, but never moved: {still - excused}"
        assert all(tensor.isfinite().all() for tensor in learner.network.state_dict().values())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(tensor, frozen[key]) for key, tensor in teacher.state_dict().items())

    again = training_of(config, data, teacher)
    spoil(again.learners)
    halfway.seek(0)
    again.restore(torch.load(halfway, weights_only=True))
    again.run(dict, lambda row: None)
    for ours, theirs in zip(training.learners, again.learners, strict=True):
        for one, other in ((ours.network, theirs.network), (ours.objective, theirs.objective)):
            restored = other.state_dict()
            for key, tensor in one.state_dict().items():
                assert torch.equal(tensor, restored[key]), key


def spoil(learners: Sequence[Learner]) -> None:
    """What is not restored must show."""
    with torch.no_grad():
        for learner in learners:
            for tensor in [*learner.network.state_dict().values(), *learner.objective.state_dict().values()]:
                tensor.add_(1)


def test_two_networks_may_teach_each_other_in_two_views() -> None:
    config = check(config_of("mlld", *PAIRS[0]).values | {"method": given("mlld")["method"] | {"source": "peer"}})
    training = training_of(config, data_of(8), teacher_of(PAIRS[0][0]))
    training.run(dict, lambda row: None)
    assert {"loss_mlld_strong", "peer_loss_mlld_strong"} <= set(training.history[-1])
