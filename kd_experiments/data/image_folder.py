"""Any data set of images in folders: `train/<class>/...` is trained on, `val/<class>/...` is the test set.

A folder that holds the classes themselves, `<class>/...`, is divided by number, each class in the same proportions.
"""

from __future__ import annotations

from pathlib import Path

import torch

from kd_experiments.data.cache import Stored
from kd_experiments.data.finding import find
from kd_experiments.data.image_tree import ImageTree, class_folders, list_classes, same_classes, store
from kd_experiments.data.settings import (
    FOLDERS,
    DatasetConfig,
    ImageFolderConfig,
    ImageTreeConfig,
    StreamedFolderConfig,
)
from kd_experiments.data.splits import stratified
from kd_experiments.errors import UserError

PARTS = ("val", "test")  # either may be the test set; where both are there, val is, as in ImageNet


def stored_image_folder(config: ImageTreeConfig, data_folder: Path) -> Stored:
    """The cached arrays of the user's own images, decoded when needed; classes are the folders' names, sorted."""
    return store(list_image_folder(config, data_folder), config, data_folder)


def list_image_folder(config: DatasetConfig, data_folder: Path) -> ImageTree:
    """The files of `dataset.root`, or of the data set's folder in the usual places."""
    undivided = isinstance(config, ImageFolderConfig | StreamedFolderConfig) and config.root is not None
    folder = find(
        config,
        data_folder,
        FOLDERS[config.name],
        lambda place: _is_divided(place) or (undivided and _holds_classes(place)),
        expected="the folders train and val with one folder a class" + ", or one folder a class" * undivided,
        otherwise="give dataset.root=FOLDER with your images as FOLDER/train/CLASS/* and FOLDER/val/CLASS/*, or as "
        "FOLDER/CLASS/*",
    )
    if not _is_divided(folder):
        assert isinstance(config, ImageFolderConfig | StreamedFolderConfig)
        return _divide(folder, config.test_fraction, config.split_seed)
    classes = class_folders(folder / "train")
    if len(classes) < 2:
        raise UserError(
            f"{folder / 'train'}: {len(classes)} class folders; place the images of every class, two at least, in a "
            f"folder of its own"
        )
    test = next(part for part in PARTS if (folder / part).is_dir())
    same_classes(folder, test, classes, f"of {folder / 'train'}")
    files, labels = list_classes(folder, "train", classes)
    test_files, test_labels = list_classes(folder, test, classes)
    return ImageTree(folder, (*files, *test_files), (*labels, *test_labels), len(files), tuple(classes))


def _is_divided(folder: Path) -> bool:
    return (folder / "train").is_dir() and any((folder / part).is_dir() for part in PARTS)


def _holds_classes(folder: Path) -> bool:
    """One folder a class, two classes at least, and none of them is called as a part of a data set."""
    return folder.is_dir() and len(found := class_folders(folder)) >= 2 and not {"train", *PARTS} & set(found)


def _divide(folder: Path, test_fraction: float, seed: int) -> ImageTree:
    """The test set is drawn by number, from the sorted names: the same files on every machine."""
    classes = class_folders(folder)
    files, labels = list_classes(folder, "", classes)
    of_files = torch.tensor(labels)
    test = torch.zeros(len(files), dtype=torch.bool)
    test[stratified(of_files, round(test_fraction * len(files)), seed, "test")] = True
    for label, name in enumerate(classes):
        mine = test[of_files == label]
        # one to test, one to hold out for validation, one to train on
        if not 1 <= int(mine.sum()) <= len(mine) - 2:
            raise UserError(
                f"dataset.test_fraction={test_fraction:g}: of the {len(mine)} images in {folder / name} it leaves "
                f"{int(mine.sum())} to test and {len(mine) - int(mine.sum())} to train; every class needs one to test "
                f"and two to train, so give another dataset.test_fraction, or more images"
            )
    order = [*(~test).nonzero().flatten().tolist(), *test.nonzero().flatten().tolist()]
    train = len(files) - int(test.sum())
    return ImageTree(folder, tuple(files[i] for i in order), tuple(labels[i] for i in order), train, tuple(classes))
