"""Images made small once and kept in shards: tar files in WebDataset's format, which are read from front to back.

A million small files are slow to list and to open, above all on a shared file system, and most of a photograph's pixels
are thrown away after decoding. A shard holds about a thousand images of all classes, each with its class number:
`00000042.jpg` and `00000042.cls`, numbered as the files of the data set are sorted.
"""

from __future__ import annotations

import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from kd_experiments import files
from kd_experiments.data.decode import MAX_PIXELS, BrokenImage, opened, to_rgb
from kd_experiments.data.image_files import ImageFiles
from kd_experiments.data.image_tree import WORKERS, ImageTree
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError
from kd_experiments.randomness import derive, ranking

IN_A_SHARD = 1024
QUALITY = 92
_INDEX = "shards.npz"


def are_there(folder: Path) -> bool:
    """Does this folder hold shards that `write` has finished?"""
    return (folder / _INDEX).is_file()


def read(folder: Path, size: int) -> StoredDataset:
    """The data set that was written to `folder`; images become (3, size, size), as those of single files do."""
    kept = files.load_arrays(folder / _INDEX, "train", "names", "labels", "classes", "size")
    if kept is None or not _is_index(**kept):
        raise UserError(f"{folder / _INDEX}: damaged; prepare the shards again, which keeps those that are there")
    train, names, labels = int(kept["train"]), kept["names"], torch.from_numpy(kept["labels"])
    classes, short = tuple(kept["classes"].tolist()), int(kept["size"])
    if short < size * 8 // 7:
        raise UserError(
            f"{folder}: its images were made {short} pixels small, but dataset.image_size={size} shows the centre of "
            f"{size * 8 // 7}; prepare them with size={size * 8 // 7}, or give a smaller dataset.image_size"
        )
    images = ImageFiles(folder, names, size)
    places = torch.arange(len(labels))
    return StoredDataset(images[places[:train]], labels[:train], images[places[train:]], labels[train:], classes)


def _is_index(train: Any, names: Any, labels: Any, classes: Any, size: Any) -> bool:
    """Is it what `write` makes, though somebody else may have made it?"""
    flat = names.ndim == labels.ndim == classes.ndim == 1 and train.ndim == size.ndim == 0
    kinds = "".join(part.dtype.kind for part in (train, names, labels, classes, size))
    if not flat or kinds != "iSiUi" or not 0 < train < len(names) == len(labels):
        return False
    return bool(labels.min() >= 0 and labels.max() < len(classes))


def write(tree: ImageTree, size: int, folder: Path, skip_corrupt: bool, say: Callable[[str], None]) -> int:
    """Write all images of `tree`, their shorter sides `size` pixels, to `folder`; returns how many were left out.

    Larger images are made smaller (bilinear with antialiasing) and stored as JPEG, others stay as they are. May be
    interrupted and asked again: shards that are there stay. Raises `UserError` for a file that cannot be decoded,
    unless `skip_corrupt`.
    """
    everything = np.arange(len(tree.files))
    # Every shard has images of all classes: a window of them is a sample of the whole.
    mixed = ranking(derive(0, "shards"), tree.train).numpy()
    plan = {
        f"{part}/{size}-{number:06d}.tar": places[first : first + IN_A_SHARD]
        for part, places in (("train", mixed), ("val", everything[tree.train :]))
        for number, first in enumerate(range(0, len(places), IN_A_SHARD))
    }
    with files.told_plainly(folder):
        for part in ("train", "val"):
            files.remove_parts(folder / part, 3600)
        for number, (name, places) in enumerate(plan.items()):
            if not (folder / name).exists():
                _write_shard(folder / name, tree, places.tolist(), size, skip_corrupt)
            if number % 50 == 49 or number == len(plan) - 1:
                say(f"shard {number + 1} of {len(plan)}")
    found = sorted((number, f"{name}:{place}") for name in plan for number, place in _samples(folder / name))
    missing = len(tree.files) - len(found)
    if missing and not skip_corrupt:
        raise UserError(
            f"{folder}: {missing} images are not in its shards, which were written with skip_corrupt=true; give "
            f"skip_corrupt=true again, or remove the folder"
        )
    files.save_arrays(
        folder / _INDEX,
        train=np.array(sum(number < tree.train for number, _ in found)),
        names=np.array([place.encode() for _, place in found]),
        labels=np.array([tree.labels[number] for number, _ in found], np.int64),
        classes=np.array(tree.class_names),
        size=np.array(size),
    )
    return missing


def _samples(path: Path) -> Iterator[tuple[int, str]]:
    """Number of every image of a shard, and where in it the image stands, with a check sum: `OFFSET:LENGTH:CRC`."""
    try:
        with tarfile.open(path) as shard:
            for member in shard:
                stem, ending = os.path.splitext(member.name)
                content = shard.extractfile(member)
                if ending == ".jpg" and content is not None:
                    yield int(stem), f"{member.offset_data}:{member.size}:{zlib.crc32(content.read()):08x}"
    except (tarfile.TarError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error}); remove it and prepare the shards again") from error


def _write_shard(path: Path, tree: ImageTree, places: Sequence[int], size: int, skip_corrupt: bool) -> None:
    """One shard, under its name only when it is whole."""
    with (
        files.new_file(path) as file,
        ThreadPoolExecutor(WORKERS) as pool,
        tarfile.open(fileobj=file, mode="w") as shard,
    ):
        small = pool.map(lambda place: _small(tree.folder / tree.files[place], size), places)
        for place, content in zip(places, small, strict=True):
            if isinstance(content, BrokenImage):
                if skip_corrupt:
                    continue
                raise UserError(
                    f"{tree.folder / tree.files[place]} ({content}): this image cannot be decoded; replace or remove "
                    f"it, or leave out all such images with skip_corrupt=true"
                )
            _add(shard, f"{place:08d}.jpg", content)
            _add(shard, f"{place:08d}.cls", str(tree.labels[place]).encode())


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))


def _small(path: Path, size: int) -> bytes | BrokenImage:
    """An image's bytes, its shorter side at most `size` pixels."""
    try:
        with opened(path) as image:
            short, plain = min(image.size), image.format == "JPEG" and image.mode == "RGB"
            decoded = to_rgb(image)  # also of an image that stays as it is: it must not be broken
    except BrokenImage as error:
        return error
    if short <= size and plain:
        return path.read_bytes()
    if short > size:
        width, height = (max(size, round(side * size / short)) for side in decoded.size)
        if width * height > MAX_PIXELS:
            return BrokenImage(f"{width}x{height} pixels once it is resized")
        decoded = decoded.resize((width, height), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    decoded.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
