"""Any data set of images in folders: `train/<class>/...` is trained on, `val/<class>/...` is the test set."""

from __future__ import annotations

from pathlib import Path

from kd_experiments.data.cache import Stored
from kd_experiments.data.finding import find
from kd_experiments.data.image_tree import ImageTree, class_folders, list_classes, same_classes, store
from kd_experiments.data.settings import FOLDERS, DatasetConfig, ImageTreeConfig
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError


def read_image_folder(config: ImageTreeConfig, data_folder: Path) -> StoredDataset:
    """The user's own images from `dataset.root`; classes are the names of the folders, sorted.

    Validation images are held out of `train`, as everywhere in the suite; `val` is only measured.
    """
    return stored_image_folder(config, data_folder).source()


def stored_image_folder(config: ImageTreeConfig, data_folder: Path) -> Stored:
    """The cached arrays of the folder, decoded when needed."""
    return store(list_image_folder(config, data_folder), config, data_folder)


def list_image_folder(config: DatasetConfig, data_folder: Path) -> ImageTree:
    """The files of `dataset.root`, or of the data set's folder in the usual places."""
    folder = find(
        config,
        data_folder,
        FOLDERS[config.name],
        lambda place: (place / "train").is_dir() and (place / "val").is_dir(),
        expected="the folders train and val with one folder a class",
        otherwise="give dataset.root=FOLDER with your images as FOLDER/train/CLASS/* and FOLDER/val/CLASS/*",
    )
    classes = class_folders(folder / "train")
    if len(classes) < 2:
        raise UserError(
            f"{folder / 'train'}: {len(classes)} class folders; place the images of every class, two at least, in a "
            f"folder of its own"
        )
    same_classes(folder, "val", classes, f"of {folder / 'train'}")
    files, labels = list_classes(folder, "train", classes)
    test_files, test_labels = list_classes(folder, "val", classes)
    return ImageTree(folder, (*files, *test_files), (*labels, *test_labels), len(files), tuple(classes))
