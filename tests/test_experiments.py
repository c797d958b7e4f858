"""Experiments: the published pairs and settings compose with every method, and their networks train."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose
from omegaconf import OmegaConf

from kd_experiments.cli.choices import choices
from kd_experiments.cli.composing import composer
from kd_experiments.config import check
from kd_experiments.data.dataset import Data, MemoryData, Split
from kd_experiments.data.views import Views
from kd_experiments.students.making import make_objective
from kd_experiments.teachers.frozen import LiveTeacher
from kd_experiments.teachers.making import fresh_network
from kd_experiments.training.loop import Learner, Training
from tests.conftest import GOLDEN, TINY, Cli, composed, records

PAIRS = (
    ("wrn_40_2", "wrn_16_2"), ("wrn_40_2", "wrn_40_1"), ("resnet56", "resnet20"), ("resnet110", "resnet20"),
    ("resnet110", "resnet32"), ("resnet32x4", "resnet8x4"), ("vgg13", "vgg8"), ("vgg13", "MobileNetV2"),
    ("ResNet50", "MobileNetV2"), ("ResNet50", "vgg8"), ("resnet32x4", "ShuffleV1"), ("resnet32x4", "ShuffleV2"),
    ("wrn_40_2", "ShuffleV1"), ("ResNet50", "ResNet18"),
)  # fmt: skip
OTHERS = {
    "la_dtd/cifar10": "la_dtd", "la_dtd/cifar100": "la_dtd", "la_dtd/cinic10": "dtd_cwsm",
    "la_dtd/tiny_imagenet": "la_lsr", "btkd/cifar100": "btkd",
    "cmd/cifar100": "cmd_p", "cmd/cifar10_symmetric": "cmd_p",
    "cmd/cifar10_asymmetric": "cmd_s", "cmd/cifar100_symmetric": "cmd_p", "cmd/cifar100_asymmetric": "none_proselflc",
    "imagenet/ResNet34_ResNet18": "kd", "imagenet/ResNet50_MobileNetV1": "dkd",
}  # fmt: skip
PARAMETERS = {name: entry["parameters"] for name, entry in json.loads((GOLDEN / "models.json").read_text()).items()}


@pytest.fixture(scope="module")
def hydra() -> Iterator[None]:
    """One initialisation for hundreds of compositions."""
    with composer():
        yield


def test_the_list_is_complete() -> None:
    assert set(choices()["experiment"]) >= {*(f"cifar100/{t}_{s}" for t, s in PAIRS), *OTHERS}


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_pair_composes_with_its_methods(hydra: None, pair: tuple[str, str]) -> None:
    """The methods with values for each pair, and a share of the others: over the pairs, all of them."""
    teacher, student = pair
    share = choices()["method"][PAIRS.index(pair) :: len(PAIRS)]
    for method in {"kd", "lrds", "dkd", "reviewkd", *share}:
        content = compose("config", [f"experiment=cifar100/{teacher}_{student}", f"method={method}"])
        given: Any = OmegaConf.to_container(content, resolve=True)
        config = check(given)
        assert (config.method.name, config.teacher.network, config.student.network) == (method, teacher, student)
        assert config.dataset.name == "cifar100"
        assert config.recipe.name == config.teacher.recipe.name
        expected = ("cifar_200", 0.1) if pair == ("ResNet50", "ResNet18") else ("cifar_240", 0.05)
        small = student in ("MobileNetV2", "ShuffleV1", "ShuffleV2")
        assert (config.teacher.recipe.name, config.teacher.recipe.lr) == expected
        assert config.recipe.lr == (0.01 if small else expected[1])


@pytest.mark.parametrize("name", OTHERS)
def test_settings_of_the_papers_compose(name: str) -> None:
    config = check(composed(f"experiment={name}", f"method={OTHERS[name]}"))
    folder, _, setting = name.partition("/")
    setting = "imagenet" if folder == "imagenet" else setting
    dataset, _, noise = (setting, "", "") if folder in ("la_dtd", "imagenet") else setting.partition("_")
    assert config.dataset.name == dataset
    assert config.values["label_noise"]["name"] == (noise or "none")
    recipe = "noise_30k" if noise else "tiny_200" if dataset == "tiny_imagenet" else "cifar_200"
    recipe = "imagenet_100" if folder == "imagenet" else recipe
    assert config.recipe.name == config.teacher.recipe.name == recipe


def test_what_the_user_chooses_wins() -> None:
    given = composed(
        "student=resnet14", "recipe=small_20", "experiment=cifar100/vgg13_vgg8", "method=dkd", "dataset=digits",
        "teacher.seed=3", "recipe.epochs=7",
    )  # fmt: skip
    assert (given["student"]["network"], given["dataset"]["name"]) == ("resnet14", "digits")
    assert (given["recipe"]["name"], given["recipe"]["epochs"]) == ("small_20", 7)
    assert (given["teacher"]["network"], given["teacher"]["seed"]) == ("vgg13", 3)
    assert given["teacher"]["recipe"]["name"] == "cifar_240"
    assert given["method"]["beta"] == 6  # of vgg13, whatever it teaches


def test_an_experiment_runs_from_the_command_line(cli: Cli, tmp_path: Path) -> None:
    answer = cli("experiment=cifar100/resnet56_resnet20", "dataset=digits", "method=dkd", "dataset.train_size=40")
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    assert record["config"]["student"]["network"] == "resnet20" and record["config"]["recipe"]["name"] == "cifar_240"


def test_a_mistyped_experiment_is_one_clear_line(cli: Cli) -> None:
    answer = cli("experiment=cifar100/resnet56_resnet2")
    assert answer.code == 2 and answer.err.count("\n") == 1
    assert "resnet56_resnet2: no such choice; did you mean cifar100/resnet56_resnet20?" in answer.err


def random_data() -> Data:
    """Eight images of 3x32x32 in 100 classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(0, 100, (8,), generator=generator)
    split = Split(images, labels, labels, torch.arange(8))
    names = tuple(map(str, range(100)))
    return MemoryData(
        "random", split, split, split, names, torch.full((3,), 0.5), torch.full((3,), 0.25), Views(4, True)
    )


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_pair_trains_two_steps(pair: tuple[str, str]) -> None:
    config = check(
        composed(*TINY, f"experiment=cifar100/{pair[0]}_{pair[1]}", f"teacher={pair[0]}", "recipe.batch_size=4")
    )
    data = random_data()
    teacher, student = (fresh_network(name, data, 0, name) for name in pair)
    for name, network in zip(pair, (teacher, student), strict=True):
        assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[name]
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    frozen = {key: tensor.clone() for key, tensor in teacher.state_dict().items()}
    learner = Learner.make("student", student, make_objective(config), config.recipe)
    row = Training([learner], data, config.recipe, 0, LiveTeacher(teacher, data)).train_epoch(0)
    assert row["loss"] > 0 and row["loss_kd"] > 0
    counted = [tensor for key, tensor in student.state_dict().items() if key.endswith("num_batches_tracked")]
    assert counted and all(int(tensor) == 2 for tensor in counted)
    assert all(not torch.equal(tensor, before[key]) for key, tensor in student.state_dict().items() if "weight" in key)
    assert all(torch.equal(tensor, frozen[key]) for key, tensor in teacher.state_dict().items())
