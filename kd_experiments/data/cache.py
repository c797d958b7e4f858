"""A data set decoded once: one uint8 array of all images, mapped into memory by every later run.

`<results>/data/decoded/<key>-<place>/` holds `images.npy` (N, C, H, W) uint8, `labels.npy` (N,) int64 (training images
first) and `meta.json`: a fingerprint of the source files, the facts of the data set and checksums of the arrays. A
cache is used only if all of it agrees; otherwise it is built again. Nothing is ever written beside the source.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_experiments import files
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError

FOLDER = "decoded"
VERSION = 2  # raise it when the layout, or how images become pixels, changes
CHECKSUM_BYTES = 1 << 24  # one checksum for so many bytes, so that threads can share the work
_ARRAYS = ("images.npy", "labels.npy")

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """What the arrays alone do not say. The first `train` images are the training set, the others the test set."""

    train: int
    class_names: tuple[str, ...]
    coarse: tuple[int, ...] | None = None
    skipped: int = 0  # images that could not be decoded and were left out
    first_skipped: str = ""  # the first of them and why


@dataclass(frozen=True)
class Stored:
    """A cached data set: tensors over the mapped files, which nothing has read or copied yet."""

    origin: Path
    folder: Path
    images: Tensor
    labels: Tensor
    facts: Facts
    release: Callable[[], None]  # see StoredDataset.release
    built: bool = False  # just now, rather than found

    def source(self) -> StoredDataset:
        train = self.facts.train
        return StoredDataset(
            self.images[:train],
            self.labels[:train],
            self.images[train:],
            self.labels[train:],
            self.facts.class_names,
            self.facts.coarse,
            self.release,
        )


class Writer:
    """Writes the arrays piece by piece, so that a data set larger than memory can be cached.

    Plain writes, not a writable memory map: a full disk is then an error and not the end of the process.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: BinaryIO | None = None
        self._shape: tuple[int, ...] = ()
        self._labels: list[Labels] = []

    def append(self, images: Pixels, labels: Labels) -> None:
        """Images (n, C, H, W) uint8 and labels (n,) int64."""
        if self._file is None:
            self._file = open(self._folder / _ARRAYS[0], "wb")  # noqa: SIM115  # closed in `close`
            self._shape = images.shape[1:]
            self._write_header(0)
        if images.shape != (len(labels), *self._shape) or images.dtype != np.uint8:
            raise ValueError(f"images {images.shape} {images.dtype} do not fit {len(labels)} labels, {self._shape}")
        self._file.write(np.ascontiguousarray(images).data)
        self._labels.append(labels)

    def finish(self) -> None:
        """Put the number of images into the header, which until now said 0, and write the labels."""
        labels = np.concatenate(self._labels)
        assert self._file is not None
        end = self._file.tell()
        self._file.seek(0)
        self._write_header(len(labels))
        if end != self._file.tell() + len(labels) * int(np.prod(self._shape)):
            raise ValueError("the header of an .npy file changed its length")  # NumPy leaves room for the count
        self.close()
        np.save(self._folder / _ARRAYS[1], labels)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_header(self, count: int) -> None:
        assert self._file is not None
        header = {"descr": "|u1", "fortran_order": False, "shape": (count, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)


def fingerprint(folder: Path, names: Iterable[str], **settings: Any) -> str:
    """SHA-256 of paths, sizes and times of change of the source files, and of the settings that shape the pixels."""
    total = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    prefix = str(folder)
    for name in names:
        try:
            status = os.stat(os.path.join(prefix, name))
        except OSError as error:
            raise UserError(f"{folder / name}: cannot be read ({error.strerror})") from error
        total.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def obtain(
    origin: Path, key: str, source_fingerprint: str, build: Callable[[Writer], Facts], data_folder: Path
) -> Stored:
    """The cache of the data at `origin` (a folder, or an archive), built with `build` if there is none that agrees.

    However many processes ask at once, one builds and the others wait. Raises what `build` raises, and `UserError`
    when the place cannot be written or the disk is full.
    """
    path_digest = hashlib.sha256(os.fsencode(origin.resolve())).hexdigest()[:8]
    place = data_folder / FOLDER / f"{key}-{path_digest}"  # two sources do not share a place
    stored = _read(place, origin, source_fingerprint)
    if stored is not None:
        return stored
    lock = place.with_name(f"{place.name}.lock")
    with files.locked(lock, f"builds {place}"), files.told_plainly(place):
        stored = _read(place, origin, source_fingerprint)
        if stored is not None:  # another process built it while this one waited
            return stored
        if place.exists():
            files.say(f"{place}: out of date or damaged, building it again")
        _build(place, source_fingerprint, build)
    stored = _read(place, origin, source_fingerprint, built=True)
    if stored is None:
        raise UserError(f"{place}: what was just written cannot be read back; check the disk, then try again")
    return stored


def _read(place: Path, origin: Path, source_fingerprint: str, built: bool = False) -> Stored | None:
    """The cache at `place`, or None if there is none, or anything in it is not as it was written."""
    try:
        meta = files.read_json(place / "meta.json")
        if meta is None or (meta["version"], meta["fingerprint"]) != (VERSION, source_fingerprint):
            return None
        if any(meta["checksums"][name] != _checksums(place / name) for name in _ARRAYS):
            return None
        # Copy on write: the tensors may be written to, the files never are.
        images, labels = (np.load(place / name, mmap_mode="c") for name in _ARRAYS)
        lists = {name: tuple(value) for name, value in meta["facts"].items() if isinstance(value, list)}
        facts = Facts(**meta["facts"] | lists)
        if images.ndim != 4 or images.dtype != np.uint8 or labels.dtype != np.int64 or labels.ndim != 1:
            return None
        if len(images) != len(labels) or not 0 < facts.train < len(labels):
            return None
        if labels.min() < 0 or labels.max() >= len(facts.class_names):
            return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return Stored(origin, place, torch.from_numpy(images), torch.from_numpy(labels), facts, _release(images), built)


def _release(images: Pixels) -> Callable[[], None]:
    """Give back the memory of the pages read so far; the next look reads them from the file again."""
    mapped = getattr(images, "_mmap", None)
    if mapped is None or not hasattr(mmap, "MADV_DONTNEED"):
        return lambda: None
    return lambda: mapped.madvise(mmap.MADV_DONTNEED)


def _build(place: Path, source_fingerprint: str, build: Callable[[Writer], Facts]) -> None:
    """Anew, whole or not at all; the caller holds the lock."""
    with files.new_folder(place) as temporary:
        writer = Writer(temporary)
        try:
            facts = build(writer)
            writer.finish()
        finally:
            writer.close()
        meta: dict[str, Any] = {
            "version": VERSION,
            "fingerprint": source_fingerprint,
            "facts": asdict(facts),
            "checksums": {name: _checksums(temporary / name) for name in _ARRAYS},
        }
        meta[files.SUM_KEY] = files.sum_of(meta)
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1) + "\n")


def _checksums(path: Path) -> list[int]:
    """CRC-32 of every `CHECKSUM_BYTES` of a file, and its size at the end. Reads; does not map."""
    size = path.stat().st_size

    def one(start: int) -> int:
        with open(path, "rb", buffering=0) as file:
            file.seek(start)
            left, total = CHECKSUM_BYTES, 0
            while left and (piece := file.read(min(left, 1 << 20))):
                total, left = zlib.crc32(piece, total), left - len(piece)
            return total

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [*pool.map(one, range(0, size, CHECKSUM_BYTES)), size]
