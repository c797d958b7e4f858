"""Every choice of `dataset=` has its keys, its reader, and becomes the tensors of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import READERS, load
from kd_experiments.data.settings import DATASETS
from kd_experiments.places import home
from tests.conftest import Cli, records
from tests.data.make_datasets import (
    config,
    write_cifar,
    write_cinic10,
    write_image_folder,
    write_imagenet,
    write_tiny_imagenet,
)

MADE = {
    "cifar10": (lambda root: write_cifar(root, CIFAR10), 32),
    "cifar100": (lambda root: write_cifar(root, CIFAR100, per_batch=50), 32),
    "cinic10": (lambda root: write_cinic10(root, per_class=5), 32),
    "tiny_imagenet": (lambda root: write_tiny_imagenet(root, per_class=5), 64),
    "image_folder": (write_image_folder, 32),
    "imagenet": (lambda root: write_imagenet(root, train=3, val=2), 224),
    "image_folder_streamed": (write_image_folder, 224),
}


def test_every_choice_has_its_keys_and_its_reader() -> None:
    choices = {file.stem for file in (home() / "conf" / "dataset").glob("*.yaml")}
    assert choices == set(DATASETS) == set(READERS)


@pytest.mark.parametrize("name", MADE)
def test_it_becomes_tensors(name: str, tmp_path: Path) -> None:
    write, size = MADE[name]
    given: dict[str, Any] = {"root": write(tmp_path / "made"), "val_fraction": 0.34}
    if "workers" in vars(config(name)):
        given["workers"] = 0
    data = load(config(name, **given), NoNoise(), tmp_path / "kept")
    assert data.channels == 3 and data.size == size and data.mean.shape == (3,)
    assert data.classes == len(data.class_names) == len(torch.unique(data.test.labels))
    for split in (data.train, data.val, data.test):
        assert split.images.shape == (len(split), 3, size, size)
    shown = list(data.training_batches(torch.tensor([2, 0, 1]), seed=0, epoch=0, batch_size=2))
    assert [index.tolist() for index, _ in shown] == [[2, 0], [1]]
    still = list(data.evaluation_batches(data.train.at(torch.tensor([1, 0, 1])), 2))
    for batches in ([images for _, images in shown], still):
        assert [images.shape for images in batches] == [(2, 3, size, size), (1, 3, size, size)]
        assert all(images.dtype == torch.float32 and images.isfinite().all() for images in batches)
        assert all(images.is_contiguous(memory_format=torch.channels_last) for images in batches)
    assert torch.equal(still[0][0], still[1][0])


@pytest.mark.parametrize("name", MADE)
def test_it_trains_from_the_command_line(name: str, tmp_path: Path, cli: Cli) -> None:
    """Two epochs of a teacher and of a student, with nothing given that a user would not give."""
    write, _ = MADE[name]
    root = write(tmp_path / "made")
    small = ["dataset.image_size=32"] if name in ("imagenet", "image_folder_streamed") else []
    small += ["dataset.workers=0"] if small else []
    answer = cli(
        f"dataset={name}", f"dataset.root={root}", "dataset.train_size=null", "dataset.val_fraction=0.34",
        "method=lrds", "student=resnet8", "recipe.batch_size=16", "teacher.recipe.batch_size=16", *small,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    assert record["status"] == "complete" and record["config"]["dataset"]["name"] == name
    with open(tmp_path / "runs" / record["signature"] / "history.csv") as file:
        assert len(file.readlines()) == 3


def test_your_own_photos_need_nothing_else(tmp_path: Path, cli: Cli) -> None:
    root = write_image_folder(tmp_path / "photos")
    given = ("dataset=image_folder", f"dataset.root={root}", "student=resnet20", "tracking.mode=disabled")
    answer = cli(*given, f"paths.results={tmp_path / 'kept'}", "threads=1", tiny=False)
    assert answer.code == 0, answer.err
    assert records(tmp_path / "kept")[0]["student"]["network"] == "resnet20"


def test_batches_are_the_images_in_their_views(tmp_path: Path) -> None:
    data = load(config("digits"), NoNoise(), tmp_path)
    order = torch.randperm(len(data.train))[:100]
    views = data.epoch_views(3, 5)
    assert views is not None and data.views is not None
    expected = data.normalise(data.views.apply(data.train.images[order], views[order]))
    shown = list(data.training_batches(order, 3, 5, 32))
    assert torch.equal(torch.cat([index for index, _ in shown]), order)
    assert torch.equal(torch.cat([images for _, images in shown]), expected)
    assert torch.equal(torch.cat(list(data.evaluation_batches(data.val, 50))), data.normalise(data.val.images))
