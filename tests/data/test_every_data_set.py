"""Every choice of `dataset=` has its keys, its reader, and becomes the tensors of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import READERS, load
from kd_experiments.data.settings import DATASETS
from kd_experiments.places import home
from tests.data.make_datasets import (
    CIFAR10,
    CIFAR100,
    config,
    write_cifar,
    write_cinic10,
    write_image_folder,
    write_tiny_imagenet,
)

MADE = {
    "cifar10": (lambda root: write_cifar(root, CIFAR10), 32),
    "cifar100": (lambda root: write_cifar(root, CIFAR100, per_batch=50), 32),
    "cinic10": (lambda root: write_cinic10(root, per_class=5), 32),
    "tiny_imagenet": (lambda root: write_tiny_imagenet(root, per_class=5), 64),
    "image_folder": (write_image_folder, 32),
}


def test_every_choice_has_its_keys_and_its_reader() -> None:
    choices = {file.stem for file in (home() / "conf" / "dataset").glob("*.yaml")}
    assert choices == set(DATASETS) == set(READERS)


@pytest.mark.parametrize("name", MADE)
def test_it_becomes_tensors(name: str, tmp_path: Path) -> None:
    write, size = MADE[name]
    given: dict[str, Any] = {"root": write(tmp_path / "made"), "val_fraction": 0.34}
    data = load(config(name, **given), NoNoise(), tmp_path / "kept")
    assert data.channels == 3 and data.size == size and data.mean.shape == (3,)
    assert data.classes == len(data.class_names) == len(torch.unique(data.test.labels))
    shown = data.show(torch.arange(2), torch.tensor([0, data.views.count - 1]))
    assert shown.shape == (2, 3, size, size) and shown.isfinite().all()
