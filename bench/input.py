"""Photographs from the disk to batches: ours, from files and from shards, beside torchvision's ImageFolder and
DataLoader with the same transforms; one thread does it all, so that the figures are those of one core.

A run on a GPU hands it bytes, which it normalises itself; torchvision's transforms normalise on the core. The figures
are of what the core does, and their notes say what they are where it normalises, too.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from bench.measurement import Measurement, Setting, compared, interleaved
from kd_experiments.cli.composing import composed
from kd_experiments.config import Config, check
from kd_experiments.data import shards
from kd_experiments.data.image_folder import list_image_folder
from kd_experiments.data.load import load
from kd_experiments.data.streamed import Augmentation, StreamedData, batches

BATCH = 64
SIZES = ((500, 375), (375, 500), (500, 333))  # pixels, as most of ImageNet's
SHORT = 256  # of the images in shards
TARGET = 2.0
GPU = 3000  # images a second that a GPU takes


def figures(setting: Setting) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder, one_thread():
        raw, small = Path(folder) / "raw", Path(folder) / "small"
        write_photographs(raw, 128 if setting.quick else 512)
        ours = config(raw, Path(folder))
        shards.write(list_image_folder(ours.dataset, ours.data_folder), SHORT, small, False, lambda line: None)
        files, shown = _data(raw, Path(folder)), _data(small, Path(folder))
        parts = {
            "torchvision": partial(torchvision_epoch, raw, files),
            "files": partial(core_epoch, files),
            "shards": partial(core_epoch, shown),
            "files, normalised": partial(whole_epoch, files),
            "shards, normalised": partial(whole_epoch, shown),
        }
        seconds = interleaved(parts, setting.repetitions(7), torch.device("cpu"))
        images = len(files.train)
    for name in ("files", "shards"):
        theirs, rate = (images / median(seconds[part]) for part in ("torchvision", name))
        whole = median(compared(seconds["torchvision"], seconds[f"{name}, normalised"])["values"])
        yield Measurement(
            name=f"input_{name}",
            about=f"images a second and core from {name} over torchvision's ImageFolder and DataLoader",
            setting=f"{images} photographs of about 500x375 and 100 KB, random crops of 224, batch {BATCH}, one core",
            unit="x",
            better="higher",
            target=TARGET,
            **compared(seconds["torchvision"], seconds[name]),
            parts=seconds,
            note=f"{rate:.0f} images a second and core: a GPU that takes {GPU:,} needs {math.ceil(GPU / rate)} such "
            f"cores, with torchvision's {math.ceil(GPU / theirs)}; where the core normalises as well, {whole:.2f}x",
        )


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def write_photographs(folder: Path, images: int) -> None:
    """Pictures with the spectrum of photographs, in two classes, of 0.5 to 0.6 bytes a pixel as ImageNet's (148 GB for
    1.28 million of about 470x390).
    """
    generator = np.random.default_rng(0)
    for number in range(images + 4):
        part = "train" if number < images else "val"
        place = folder / part / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        width, height = SIZES[number % len(SIZES)]
        picture = np.zeros((height, width, 3), np.float32)
        for scale, strength in ((1, 6), (2, 6), (4, 8), (16, 16), (64, 64)):
            noise = generator.normal(0, strength, (height // scale + 1, width // scale + 1, 3)).astype(np.float32)
            picture += np.kron(noise, np.ones((scale, scale, 1), np.float32))[:height, :width]
        Image.fromarray((128 + picture).clip(0, 255).astype(np.uint8)).save(place / f"{number}.JPEG", quality=95)


def config(root: Path, folder: Path) -> Config:
    """A run on these photographs."""
    given = ["dataset=imagenet", f"dataset.root={root}", "dataset.workers=0", "dataset.val_fraction=0.1"]
    return check(composed([*given, "tracking.mode=disabled", f"paths.results={folder / 'results'}"]))


def _data(root: Path, folder: Path) -> StreamedData:
    whole = config(root, folder)
    data = load(whole.dataset, whole.label_noise, whole.data_folder)
    assert isinstance(data, StreamedData)
    return data


def core_epoch(data: StreamedData) -> None:
    """Every training image once, as a core hands it to the GPU."""
    order = data.order(torch.Generator().manual_seed(0))
    for _ in batches(data.train.images, order, BATCH, Augmentation(data.crops, 0, 0), 0, torch.device("cpu")):
        pass


def whole_epoch(data: StreamedData) -> None:
    """Every training image once, as a network sees it."""
    for _ in data.training_batches(data.order(torch.Generator().manual_seed(0)), 0, 0, BATCH):
        pass


def torchvision_epoch(root: Path, data: StreamedData) -> None:
    """The same images with what most scripts use."""
    transform = transforms.Compose(
        [
            transforms.RandomResizedCrop(224),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    images = Subset(datasets.ImageFolder(str(root / "train"), transform), data.train.origin.tolist())
    for _ in DataLoader(images, batch_size=BATCH, shuffle=True):
        pass
