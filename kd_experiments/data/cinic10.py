"""CINIC-10: CIFAR-10 extended by downsampled ImageNet images (Darlow et al. 2018), a tree of 32 x 32 PNGs.

As distributed it has three equal parts of 90000 images. `train` is trained on (and validation images are held out of
it, as everywhere in the suite), `test` is measured, `valid` is not used.
"""

from __future__ import annotations

from pathlib import Path

from kd_experiments.data.cache import Stored
from kd_experiments.data.finding import find
from kd_experiments.data.image_tree import ImageTree, list_classes, same_classes, store
from kd_experiments.data.settings import FOLDERS, ImageTreeConfig

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def stored_cinic10(config: ImageTreeConfig, data_folder: Path) -> Stored:
    """CINIC-10 from `dataset.root`, or from `data_folder` or `data/`: its cached arrays, decoded when needed."""
    folder = find(
        config,
        data_folder,
        FOLDERS[config.name],
        lambda place: (place / "train").is_dir() and (place / "test").is_dir(),
        expected="the folders train and test with one folder a class",
        otherwise="unpack CINIC-10.tar.gz (datashare.ed.ac.uk/handle/10283/3192) into a folder and give "
        "dataset.root=FOLDER; it is not downloaded by itself",
    )
    files: list[str] = []
    labels: list[int] = []
    train = 0
    for part in ("train", "test"):
        same_classes(folder, part, CLASS_NAMES, "of CINIC-10")
        part_files, part_labels = list_classes(folder, part, CLASS_NAMES)
        train = train or len(part_files)
        files, labels = files + part_files, labels + part_labels
    tree = ImageTree(folder, tuple(files), tuple(labels), train, CLASS_NAMES, native_size=32)
    return store(tree, config, data_folder)
