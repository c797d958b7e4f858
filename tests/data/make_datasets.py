"""Tiny data sets in the formats the real ones are distributed in."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import CIFAR10, CIFAR100

from kd_experiments.data.cinic10 import CLASS_NAMES
from kd_experiments.data.settings import DATASETS
from kd_experiments.places import home
from kd_experiments.schema import build_choice

CIFAR10_NAMES = list(CLASS_NAMES)


def config(name: str, **given: Any) -> Any:
    """The data set's own defaults, as a run would compose them, with some keys changed."""
    defaults = OmegaConf.to_container(OmegaConf.load(home() / "conf" / "dataset" / f"{name}.yaml"))
    assert isinstance(defaults, dict)
    if "root" in given and given["root"] is not None:
        given["root"] = str(given["root"])
    return build_choice(DATASETS, {**defaults, **given}, "dataset")


def cifar_content(release: Any, per_batch: int, classes: int) -> dict[str, dict[str, Any]]:
    """What each file of the folder holds; every class is in every batch. `release` is torchvision's class."""
    generator = np.random.default_rng(0)
    content: dict[str, dict[str, Any]] = {}
    for name, _ in (*release.train_list, *release.test_list):
        content[name] = {
            "labels" if release is CIFAR10 else "fine_labels": (generator.permutation(per_batch) % classes).tolist(),
            "data": generator.integers(0, 256, (per_batch, 3072), dtype=np.uint8),
        }
    names = CIFAR10_NAMES if release is CIFAR10 else [f"fine {i}" for i in range(classes)]
    content[release.meta["filename"]] = {release.meta["key"]: names[:classes]}
    return content


def write_cifar(parent: Path, release: Any = CIFAR10, per_batch: int = 20, classes: int = 10) -> Path:
    """The extracted folder below `parent`, whose files then count as the published ones (until the test ends)."""
    folder: Path = parent / release.base_folder
    folder.mkdir(parents=True)
    for name, content in cifar_content(release, per_batch, classes).items():
        (folder / name).write_bytes(pickle.dumps(content))
    publish(folder, release)
    return folder


def publish(folder: Path, release: Any) -> None:
    """Let the files in a folder pass for the published ones; `conftest` undoes it."""

    def md5(name: str) -> str:
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    release.train_list = [[name, md5(name)] for name, _ in release.train_list]
    release.test_list = [[name, md5(name)] for name, _ in release.test_list]
    release.meta = {**release.meta, "md5": md5(release.meta["filename"])}


def write_cifar_archive(parent: Path, release: Any = CIFAR10) -> Path:
    """The archive in `parent`, which then counts as the published one."""
    folder = write_cifar(parent / "unpacked", release)
    archive: Path = parent / release.filename
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, release.base_folder)
    shutil.rmtree(parent / "unpacked")
    release.tgz_md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    return archive


def picture(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    """Noise under a gradient: smooth enough for JPEG, different for every seed."""
    generator = np.random.default_rng(seed)
    slope = np.linspace(0, 200, width)[None, :, None] + generator.integers(0, 56, 3)
    noise = generator.integers(-20, 20, (height, width, 3))
    return Image.fromarray(np.clip(slope + noise, 0, 255).astype(np.uint8))


def write_cinic10(folder: Path, per_class: int = 2) -> Path:
    """`train/ valid/ test/<class>/` of PNGs named as the real ones."""
    for number, part in enumerate(("train", "valid", "test")):
        for label, name in enumerate(CLASS_NAMES):
            place = folder / part / name
            place.mkdir(parents=True)
            for i in range(per_class):
                origin = f"cifar10-{part}-{i}.png" if i % 2 else f"n0{label}_{i}.png"
                picture(1000 * number + 10 * label + i).save(place / origin)
    return folder


def write_tiny_imagenet(folder: Path, wnids: Sequence[str] = ("n02", "n01", "n03"), per_class: int = 2) -> Path:
    """The folder of tiny-imagenet-200.zip with a few classes; one image is grey, as some real ones are."""
    folder.mkdir(parents=True)
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in wnids))
    (folder / "words.txt").write_text("n01\tgoldfish, Carassius auratus\nn02\tcrane\nn03\tcrane\nn99\tunused\n")
    for number, wnid in enumerate(wnids):
        images = folder / "train" / wnid / "images"
        images.mkdir(parents=True)
        boxes = ""
        for i in range(per_class):
            image = picture(10 * number + i, 64, 64)
            (image.convert("L") if i == 1 else image).save(images / f"{wnid}_{i}.JPEG")
            boxes += f"{wnid}_{i}.JPEG\t0\t10\t63\t58\n"
        (images.parent / f"{wnid}_boxes.txt").write_text(boxes)
    images = folder / "val" / "images"
    images.mkdir(parents=True)
    lines = ""
    for i in range(2 * len(wnids)):
        picture(500 + i, 64, 64).save(images / f"val_{i}.JPEG")
        lines += f"val_{i}.JPEG\t{wnids[i % len(wnids)]}\t0\t32\t44\t62\n"
    (folder / "val" / "val_annotations.txt").write_text(lines)
    (folder / "test" / "images").mkdir(parents=True)
    return folder


def write_image_folder(folder: Path) -> Path:
    """Two classes in many formats, shapes and colour modes."""
    for part in ("train", "val"):
        for name in ("ant", "bee"):
            (folder / part / name).mkdir(parents=True)
        picture(1, 50, 40).save(folder / part / "ant" / "a.jpg", quality=90)
        picture(2, 33, 71).save(folder / part / "ant" / "b.png")
        picture(3, 64, 64).convert("L").save(folder / part / "ant" / "grey.jpeg")
        picture(4, 41, 40).convert("CMYK").save(folder / part / "bee" / "cmyk.JPG")
        picture(5, 20, 24).quantize(16).save(folder / part / "bee" / "palette.gif")
        (folder / part / "bee" / "more").mkdir()
        picture(6, 32, 32).convert("RGBA").save(folder / part / "bee" / "more" / "alpha.png")
        picture(7, 45, 32).save(folder / part / "bee" / "w.webp", lossless=True)
        (folder / part / "bee" / "notes.txt").write_text("not an image")
        (folder / part / ".hidden").mkdir()
    return folder


def write_imagenet(folder: Path, wnids: Sequence[str] = ("n01", "n02", "n03"), train: int = 12, val: int = 4) -> Path:
    """`train/<wnid>/*.JPEG` and `val/<wnid>/*.JPEG` of photograph-like sizes."""
    for part, count in (("train", train), ("val", val)):
        for label, wnid in enumerate(wnids):
            place = folder / part / wnid
            place.mkdir(parents=True)
            for i in range(count):
                width, height = (300, 260) if i % 3 else (211, 280)
                picture(1000 * label + 10 * i + len(part), width, height).save(place / f"{wnid}_{i}.JPEG", quality=90)
    return folder


RELEASES = {"cifar10": CIFAR10, "cifar100": CIFAR100}
