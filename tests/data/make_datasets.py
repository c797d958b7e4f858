"""Tiny data sets in the formats the real ones are distributed in."""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from omegaconf import OmegaConf
from PIL import Image

from kd_experiments.data.cifar import CIFAR10, CIFAR100, Release
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


class Python2Pickler(pickle._Pickler):  # type: ignore[misc, name-defined]
    """Protocol 2 as Python 2 and the NumPy of 2009 wrote it: text is bytes, arrays name `numpy.core.multiarray`."""

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: Any) -> None:
        super().__init__(file, protocol=2)

    def save_bytes(self, value: bytes) -> None:
        if len(value) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(value)]) + value)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_bytes

    def save_array(self, array: np.ndarray) -> None:
        self.write(pickle.GLOBAL + b"numpy.core.multiarray\n_reconstruct\n")
        self.write(pickle.GLOBAL + b"numpy\nndarray\n")
        self.save((0,))
        self.save(b"b")
        self.write(pickle.TUPLE3 + pickle.REDUCE)
        self.memoize(array)
        columns_first = array.flags.f_contiguous and not array.flags.c_contiguous
        self.write(pickle.MARK)
        self.save(1)
        self.save(array.shape)
        self.write(pickle.GLOBAL + b"numpy\ndtype\n")
        self.save(b"u1")
        self.save(0)
        self.save(1)
        self.write(pickle.TUPLE3 + pickle.REDUCE)
        self.save((3, b"|", None, None, None, -1, -1, 0))
        self.write(pickle.BUILD)
        self.save(columns_first)
        self.save(array.tobytes("F" if columns_first else "C"))
        self.write(pickle.TUPLE + pickle.BUILD)

    dispatch[np.ndarray] = save_array


def pickled(content: dict[bytes, Any]) -> bytes:
    file = io.BytesIO()
    Python2Pickler(file).dump(content)
    return file.getvalue()


def cifar_content(release: Release, per_batch: int, classes: int, seed: int = 0) -> dict[str, dict[bytes, Any]]:
    """What each file of the folder holds; every class is in every batch, coarse classes are label modulo 3."""
    generator = np.random.default_rng(seed)
    content: dict[str, dict[bytes, Any]] = {}
    for name in (*release.train, release.test):
        labels = [int(label) for label in generator.permutation(np.arange(per_batch) % classes)]
        content[name] = {
            b"batch_label": name.encode(),
            release.labels_key.encode(): labels,
            b"data": generator.integers(0, 256, (per_batch, 3072), dtype=np.uint8),
            b"filenames": [f"image_{i:06d}.png".encode() for i in range(per_batch)],
        }
        if release.coarse_key is not None:
            content[name][release.coarse_key.encode()] = [label % 3 for label in labels]
    names = CIFAR10_NAMES if release is CIFAR10 else [f"fine {i}" for i in range(classes)]
    content[release.meta] = {release.names_key.encode(): [name.encode() for name in names[:classes]]}
    if release.coarse_key is not None:
        content[release.meta][b"coarse_label_names"] = [b"coarse 0", b"coarse 1", b"coarse 2"]
    else:
        content[release.meta] |= {b"num_cases_per_batch": per_batch, b"num_vis": 3072}
    return content


def write_cifar(parent: Path, release: Release = CIFAR10, per_batch: int = 20, classes: int = 10) -> Path:
    """The extracted folder below `parent`."""
    folder = parent / release.folder
    folder.mkdir(parents=True)
    for name, content in cifar_content(release, per_batch, classes).items():
        (folder / name).write_bytes(pickled(content))
    (folder / "readme.html").write_text("<html></html>")
    return folder


def write_cifar_archive(
    parent: Path, release: Release = CIFAR10, per_batch: int = 20, order: Sequence[str] | None = None
) -> tuple[Path, str]:
    """The archive in `parent`, and its MD5; members stand in the `order` given, or as in the published one."""
    parent.mkdir(parents=True, exist_ok=True)
    content = cifar_content(release, per_batch, 10)
    path = parent / release.archive
    with tarfile.open(path, "w:gz") as archive:
        folder = tarfile.TarInfo(f"{release.folder}/")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        published = [release.meta, *reversed(release.train), release.test]
        for name in ["readme.html", *(order if order is not None else published)]:
            data = pickled(content[name]) if name in content else b"<html></html>"
            member = tarfile.TarInfo(f"{release.folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path, hashlib.md5(path.read_bytes()).hexdigest()


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
