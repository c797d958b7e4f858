"""Tiny ImageNet: 200 classes of 64 x 64 JPEGs (Stanford CS231n 2015), the folder as it is distributed.

`wnids.txt` names the classes, `words.txt` (optional) says what they mean, `train/<wnid>/images/*` are the training
images; the test images have no labels, so `val/images/*` with `val/val_annotations.txt` is the test set, as in papers.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from kd_experiments.data.cache import Stored
from kd_experiments.data.decode import MAX_BYTES
from kd_experiments.data.finding import find, some
from kd_experiments.data.image_tree import ImageTree, images_below, list_classes, same_classes, store
from kd_experiments.data.settings import FOLDERS, ImageTreeConfig
from kd_experiments.errors import UserError

CLASSES, ANNOTATIONS, WORDS = "wnids.txt", "val/val_annotations.txt", "words.txt"


def stored_tiny_imagenet(config: ImageTreeConfig, data_folder: Path) -> Stored:
    """Tiny ImageNet from `dataset.root`, or from `data_folder` or `data/`: its cached arrays, decoded when needed."""
    folder = find(
        config,
        data_folder,
        FOLDERS[config.name],
        lambda place: (place / CLASSES).is_file(),
        expected=f"{CLASSES}, train and val, as in tiny-imagenet-200.zip",
        otherwise="unpack tiny-imagenet-200.zip (cs231n.stanford.edu/tiny-imagenet-200.zip) into a folder and give "
        "dataset.root=FOLDER; it is not downloaded by itself",
    )
    # Sorted, as ImageFolder numbers them; wnids.txt is in another order.
    wnids = sorted({line.strip() for line in _lines(folder / CLASSES) if line.strip()})
    same_classes(folder, "train", wnids, f"of {CLASSES}")
    files, labels = list_classes(folder, "train", wnids, below="images")
    test_files, test_labels = _validation(folder, wnids)
    lists = (CLASSES, ANNOTATIONS, *([WORDS] if (folder / WORDS).is_file() else []))
    names = _class_names(folder, wnids)
    tree = ImageTree(folder, (*files, *test_files), (*labels, *test_labels), len(files), names, lists, native_size=64)
    return store(tree, config, data_folder)


def _validation(folder: Path, wnids: list[str]) -> tuple[list[str], list[int]]:
    """Files and labels of the annotated images: lines `file, wnid, x, y, width, height` divided by tabs."""
    if not (folder / "val" / "images").is_dir():
        raise UserError(
            f"{folder / 'val' / 'images'}: there is no such folder; restore val/ as it is distributed, or read a "
            f"rearranged val/<class> with dataset=image_folder dataset.image_size=64"
        )
    label_of = {wnid: label for label, wnid in enumerate(wnids)}
    there = images_below(folder / "val" / "images")
    labels: dict[str, int] = {}
    for number, line in enumerate(_lines(folder / ANNOTATIONS), start=1):
        if not line.strip():
            continue
        name, _, rest = line.partition("\t")
        wnid = rest.partition("\t")[0].strip()
        if wnid not in label_of:
            raise UserError(
                f"{folder / ANNOTATIONS}, line {number}: expected FILE, a class of {CLASSES} and a box, divided by "
                f"tabs, found {line.strip()!r}"
            )
        labels[name] = label_of[wnid]
    for missing, sentence in (
        (sorted(set(labels) - set(there)), "named in val_annotations.txt, but not in val/images"),
        (sorted(set(there) - set(labels)), "in val/images, but not named in val_annotations.txt"),
    ):
        if missing:
            raise UserError(f"{folder}: {some(missing)} {sentence}; restore val/ as it is distributed")
    absent = sorted(set(wnids) - {wnids[label] for label in labels.values()})
    if absent:
        raise UserError(f"{folder / ANNOTATIONS}: no image of {some(absent)}; restore val/ as it is distributed")
    return [f"val/images/{name}" for name in there], [labels[name] for name in there]


def _class_names(folder: Path, wnids: list[str]) -> tuple[str, ...]:
    """The first word for each class (its id where two share one), or the ids if there is no `words.txt`."""
    if not (folder / WORDS).is_file():
        return tuple(wnids)
    words = {}
    for line in _lines(folder / WORDS):
        wnid, _, meaning = line.partition("\t")
        words[wnid] = meaning.split(",")[0].strip()
    names = [words.get(wnid) or wnid for wnid in wnids]
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True))


def _lines(path: Path) -> list[str]:
    try:
        if path.exists() and not path.is_file():
            raise OSError("no ordinary file")
        if path.stat().st_size > MAX_BYTES:
            raise OSError(f"over {MAX_BYTES >> 20} MiB")
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); restore it as it is distributed") from error
