"""Photographs from the disk to batches: ours, from files and from shards, beside torchvision's ImageFolder and
DataLoader with the same transforms; one process decodes, so that the figures are those of one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from bench.measurement import Measurement, Setting, compared, interleaved
from kd_experiments.cli.composing import composed
from kd_experiments.config import Config, check
from kd_experiments.data import shards
from kd_experiments.data.dataset import Data
from kd_experiments.data.image_folder import list_image_folder
from kd_experiments.data.load import load

BATCH = 64
SIZES = ((500, 375), (375, 500), (500, 333))  # pixels, as most of ImageNet's
SHORT = 256  # of the images in shards
TARGET = 2.0
GPU = 3000  # images a second that a GPU takes


def figures(setting: Setting) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        raw, small = Path(folder) / "raw", Path(folder) / "small"
        images = 128 if setting.quick else 512
        write_photographs(raw, images)
        ours = config(raw, Path(folder))
        shards.write(list_image_folder(ours.dataset, ours.data_folder), SHORT, small, False, lambda line: None)
        parts = {
            "torchvision": partial(torchvision_epoch, raw),
            "files": partial(our_epoch, _data(raw, Path(folder))),
            "shards": partial(our_epoch, _data(small, Path(folder))),
        }
        seconds = interleaved(parts, setting.repetitions(3), torch.device("cpu"))
    for name in ("files", "shards"):
        rates = sorted(images / value for value in seconds[name])
        rate = rates[len(rates) // 2]
        yield Measurement(
            name=f"input_{name}",
            about=f"images a second and core from {name} over torchvision's ImageFolder and DataLoader",
            setting=f"{images} photographs of about 500x375, random crops of 224, batch {BATCH}, one core",
            unit="x",
            better="higher",
            target=TARGET,
            **compared(seconds["torchvision"], seconds[name]),
            parts=seconds,
            note=f"{rate:.0f} images a second and core: a GPU that takes {GPU:,} needs {GPU / rate:.0f} such cores",
        )


def write_photographs(folder: Path, images: int) -> None:
    """Pictures with the spectrum of photographs, in two classes, as many bytes a pixel as ImageNet's."""
    generator = np.random.default_rng(0)
    for number in range(images + 4):
        part = "train" if number < images else "val"
        place = folder / part / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        width, height = SIZES[number % len(SIZES)]
        picture = np.zeros((height, width, 3), np.float32)
        for scale in (1, 4, 16, 64):
            noise = generator.normal(0, scale, (height // scale + 1, width // scale + 1, 3)).astype(np.float32)
            picture += np.kron(noise, np.ones((scale, scale, 1), np.float32))[:height, :width]
        Image.fromarray((128 + picture).clip(0, 255).astype(np.uint8)).save(place / f"{number}.JPEG", quality=90)


def config(root: Path, folder: Path) -> Config:
    """A run on these photographs."""
    given = ["dataset=imagenet", f"dataset.root={root}", "dataset.workers=0", "dataset.val_fraction=0.1"]
    return check(composed([*given, "tracking.mode=disabled", f"paths.results={folder / 'results'}"]))


def _data(root: Path, folder: Path) -> Data:
    whole = config(root, folder)
    return load(whole.dataset, whole.label_noise, whole.data_folder)


def our_epoch(data: Data) -> None:
    """Every training image once, as a run sees it."""
    order = data.order(torch.Generator().manual_seed(0))
    for _ in data.training_batches(order, 0, 0, BATCH):
        pass


def torchvision_epoch(root: Path) -> None:
    """The same with what most scripts use."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    for _ in DataLoader(datasets.ImageFolder(str(root / "train"), transform), batch_size=BATCH, shuffle=True):
        pass
