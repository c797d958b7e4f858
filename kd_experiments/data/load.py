"""From the configuration of a data set to its tensors."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kd_experiments.data.cache import Stored
from kd_experiments.data.cifar import stored_cifar
from kd_experiments.data.cinic10 import stored_cinic10
from kd_experiments.data.dataset import Data, MemoryData, Split, channel_statistics
from kd_experiments.data.digits import read_digits
from kd_experiments.data.fashion_mnist import read_fashion_mnist
from kd_experiments.data.image_files import ImageFiles, Images
from kd_experiments.data.image_folder import stored_image_folder
from kd_experiments.data.imagenet import read_streamed
from kd_experiments.data.label_noise import LabelNoise, LabelSource
from kd_experiments.data.random_crops import RandomCrops
from kd_experiments.data.settings import DatasetConfig, StreamedConfig
from kd_experiments.data.splits import split_train
from kd_experiments.data.stored import StoredDataset
from kd_experiments.data.streamed import StreamedData, sampled_statistics
from kd_experiments.data.tiny_imagenet import stored_tiny_imagenet
from kd_experiments.data.views import Views
from kd_experiments.errors import UserError, no_such_choice

# Here and in `READERS` each takes the configuration class that `settings.DATASETS` has under its name, and the folder
# for downloads. These data sets are decoded into a cache once.
STORED: dict[str, Callable[..., Stored]] = {
    "cifar10": stored_cifar,
    "cifar100": stored_cifar,
    "cinic10": stored_cinic10,
    "tiny_imagenet": stored_tiny_imagenet,
    "image_folder": stored_image_folder,
}


def _read_stored(config: DatasetConfig, data_folder: Path) -> StoredDataset:
    return STORED[config.name](config, data_folder).source()


READERS: dict[str, Callable[..., StoredDataset]] = {
    "digits": lambda config, data_folder: read_digits(),
    "fashion_mnist": read_fashion_mnist,
    **dict.fromkeys(STORED, _read_stored),
    "imagenet": read_streamed,
    "image_folder_streamed": read_streamed,
}


def load(config: DatasetConfig, noise: LabelNoise, data_folder: Path) -> Data:
    """Read, split and (on the training labels only) corrupt a data set; tensors are on the CPU, or images on the disk.

    `data_folder` is where a download is kept.
    """
    if config.name not in READERS:
        raise no_such_choice("dataset", config.name, READERS)
    source = READERS[config.name](config, data_folder)
    train, val = split_train(
        source.train_labels,
        val_fraction=config.val_fraction,
        train_size=config.train_size,
        seed=config.split_seed,
    )
    true_labels, val_labels = source.train_labels[train], source.train_labels[val]
    everything = torch.arange(len(source.test_labels))
    images, val_images, test_images = (
        _copied(stored, index, source.release)
        for stored, index in (
            (source.train_images, train),
            (source.train_images, val),
            (source.test_images, everything),
        )
    )
    given = noise(LabelSource(config.name, true_labels, len(source.class_names), source.coarse))
    mean, std = _statistics(config, images)
    shared: dict[str, Any] = {
        "name": config.name,
        "train": Split(images, given, true_labels, train),
        "val": Split(val_images, val_labels, val_labels, val),
        "test": Split(test_images, source.test_labels, source.test_labels, everything),
        "class_names": source.class_names,
        "mean": mean,
        "std": std,
    }
    if isinstance(config, StreamedConfig):
        return StreamedData(**shared, views=None, crops=RandomCrops(config.flip), workers=config.workers)
    return MemoryData(**shared, views=Views(config.crop_padding, config.flip))


def _copied(images: Images, index: Tensor, release: Callable[[], None], reach: int = 4096) -> Images:
    """`images[index]` for an ascending index, copied piece by piece.

    A piece reaches over `reach` originals, so that a memory-mapped original is never in memory beside its copy.
    """
    if not isinstance(images, Tensor):
        return images[index]
    copy = images.new_empty((len(index), *images.shape[1:]))
    ends = torch.searchsorted(index, torch.arange(reach, len(images) + reach, reach)).tolist()
    for start, end in pairwise([0, *ends]):
        copy[start:end] = images[index[start:end]]
        release()
    return copy


def _statistics(config: DatasetConfig, images: Images) -> tuple[Tensor, Tensor]:
    if config.mean is None or config.std is None:
        if isinstance(images, ImageFiles):
            assert isinstance(config, StreamedConfig)
            return sampled_statistics(images, config.split_seed, config.workers)
        return channel_statistics(images)
    channels = images.shape[1]
    if len(config.mean) != channels or len(config.std) != channels:
        raise UserError(f"dataset.mean and dataset.std: {config.name} has {channels} channel(s), give one number each")
    return torch.tensor(config.mean), torch.tensor(config.std)
