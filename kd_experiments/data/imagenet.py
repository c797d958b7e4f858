"""ImageNet (Russakovsky et al. 2015) and other large folders, `train/<class>/*` and `val/<class>/*`: listed, not read.

Images are decoded whenever they are shown. Labels and splits are as everywhere: validation images are held out of
`train`, and `val` is the test set.
"""

from __future__ import annotations

from pathlib import Path

import torch

from kd_experiments.data import shards
from kd_experiments.data.image_files import ImageFiles
from kd_experiments.data.image_folder import list_image_folder
from kd_experiments.data.image_tree import ImageTree
from kd_experiments.data.settings import StreamedConfig
from kd_experiments.data.sound_files import sound_files
from kd_experiments.data.stored import StoredDataset


def read_streamed(config: StreamedConfig, data_folder: Path) -> StoredDataset:
    """As torchvision's ImageFolder takes it: classes are the folders' names, sorted; of ImageNet's fewer do, too."""
    if config.root is not None and shards.are_there(place := Path(config.root).expanduser()):
        return shards.read(place, config.image_size)
    return _source(list_image_folder(config, data_folder), config, data_folder)


def _source(tree: ImageTree, config: StreamedConfig, data_folder: Path) -> StoredDataset:
    if config.skip_corrupt:
        tree = sound_files(tree, data_folder)
    images, labels = ImageFiles.of(tree.folder, tree.files, config.image_size), torch.tensor(tree.labels)
    places = torch.arange(len(labels))
    train, test = places[: tree.train], places[tree.train :]
    return StoredDataset(images[train], labels[train], images[test], labels[test], tree.class_names)
