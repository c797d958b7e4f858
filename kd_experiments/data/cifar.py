"""CIFAR-10 and CIFAR-100: 60000 colour images of 32 x 32 pixels (Krizhevsky 2009), read from their Python pickles.

The extracted folder and the archive are both read where they are; the archive is not unpacked.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import tarfile
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock

from kd_experiments.data import cache, finding, safe_pickle
from kd_experiments.data.cache import Facts, Labels, Pixels, Stored, Writer
from kd_experiments.data.settings import DatasetConfig
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError


@dataclass(frozen=True)
class Release:
    """How one of the two is distributed; the MD5 sums are the publisher's and torchvision's."""

    title: str
    folder: str
    archive: str
    archive_md5: str
    url: str
    train: tuple[str, ...]
    test: str
    meta: str
    labels_key: str
    names_key: str
    coarse_key: str | None
    md5: dict[str, str]  # of the files in the folder

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.train, self.test, self.meta)


CIFAR10 = Release(
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    archive="cifar-10-python.tar.gz",
    archive_md5="c58f30108f718f92721af3b95e74349a",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    train=("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"),
    test="test_batch",
    meta="batches.meta",
    labels_key="labels",
    names_key="label_names",
    coarse_key=None,
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
)
CIFAR100 = Release(
    title="CIFAR-100",
    folder="cifar-100-python",
    archive="cifar-100-python.tar.gz",
    archive_md5="eb9058c3a382ffc7106e4002c42a8d85",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    train=("train",),
    test="test",
    meta="meta",
    labels_key="fine_labels",
    names_key="fine_label_names",
    coarse_key="coarse_labels",
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
)


def read_cifar10(config: DatasetConfig, data_folder: Path) -> StoredDataset:
    """CIFAR-10 from `dataset.root`, or from `data_folder` or `data/`."""
    return stored_cifar10(config, data_folder).source()


def read_cifar100(config: DatasetConfig, data_folder: Path) -> StoredDataset:
    """CIFAR-100 with its fine labels; `coarse` says to which of the 20 coarse classes each fine class belongs."""
    return stored_cifar100(config, data_folder).source()


def stored_cifar10(config: DatasetConfig, data_folder: Path) -> Stored:
    """The cached arrays of CIFAR-10, built when needed."""
    return _stored(CIFAR10, config, data_folder)


def stored_cifar100(config: DatasetConfig, data_folder: Path) -> Stored:
    """The cached arrays of CIFAR-100, built when needed."""
    return _stored(CIFAR100, config, data_folder)


def _stored(release: Release, config: DatasetConfig, data_folder: Path) -> Stored:
    origin = _find(release, config, data_folder)
    if origin.is_dir():
        missing = [name for name in release.files if not (origin / name).is_file()]
        if missing:
            raise UserError(
                f"{origin}: {', '.join(missing)} missing; a complete {release.title} folder holds "
                f"{', '.join(release.files)}"
            )
        source_fingerprint = cache.fingerprint(origin, release.files)
    else:
        source_fingerprint = cache.fingerprint(origin.parent, [origin.name])
    return cache.obtain(
        origin, config.name, source_fingerprint, lambda writer: _build(release, origin, writer), data_folder
    )


def _find(release: Release, config: DatasetConfig, data_folder: Path) -> Path:
    """The folder of pickles, or else the archive; downloaded if that was asked for."""
    places = finding.candidates(config, data_folder, [release.folder])
    for place in places:
        if any((place / name).is_file() for name in (*release.train, release.test)):
            return place
    target = Path(config.root).expanduser() if config.root is not None else data_folder
    archives = [place if place.name == release.archive else place / release.archive for place in places]
    for archive in archives:
        if archive.is_file() and (not config.download or _md5(archive) == release.archive_md5):
            return archive
    if config.download:
        return _download(release, target.parent if target.name == release.archive else target)
    raise finding.not_found(
        config,
        places,
        expected=f"the folder {release.folder}, its files {', '.join(release.files)}, or {release.archive}",
        otherwise=f"add dataset.download=true, or place {release.archive} or the folder {release.folder} in a folder "
        f"and give dataset.root=FOLDER",
    )


def _download(release: Release, target: Path) -> Path:
    """Fetch the archive (another process may just have done it); torchvision verifies its checksum."""
    from torchvision.datasets.utils import download_url

    try:
        target.mkdir(parents=True, exist_ok=True)
        with FileLock(target / f"{release.archive}.lock"):
            download_url(release.url, str(target), release.archive, release.archive_md5)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"dataset.download=true: {release.title} could not be downloaded to {target} ({error}); fetch "
            f"{release.url} yourself, place it in a folder and give dataset.root=FOLDER"
        ) from error
    return target / release.archive


def _build(release: Release, origin: Path, writer: Writer) -> Facts:
    """Verify and copy all images into the cache, training images first."""
    meta: dict[str, Any] = {}
    labels: dict[str, Labels] = {}
    coarse: dict[str, Labels] = {}
    waiting: dict[str, Pixels] = {}
    order = (*release.train, release.test)
    turns = deque(order)
    for name, file in _files(release, origin):
        where = origin / name
        content = _unpickle(where, file)
        if name == release.meta:
            meta = content
            continue
        waiting[name], labels[name] = _images(where, content), _labels(where, content, release.labels_key)
        if release.coarse_key is not None:
            coarse[name] = _labels(where, content, release.coarse_key, count=len(labels[name]))
        if len(labels[name]) != len(waiting[name]):
            raise UserError(f"{where}: {len(waiting[name])} images but {len(labels[name])} labels; replace the file")
        del content
        # An archive holds the files in any order; those that come early wait for their turn.
        while turns and turns[0] in waiting:
            turn = turns.popleft()
            writer.append(waiting.pop(turn), labels[turn])
    missing = [name for name in release.files if name not in labels and (name != release.meta or not meta)]
    if missing:
        raise UserError(
            f"{origin}: {', '.join(missing)} missing in the archive; it is not the {release.title} that is published"
        )
    class_names = _class_names(origin / release.meta, meta, release.names_key)
    for name in order:
        _check_range(origin / name, labels[name], len(class_names))
    coarse_of = None
    if release.coarse_key is not None:
        fine, group = (np.concatenate([part[name] for name in order]) for part in (labels, coarse))
        coarse_of = _coarse_classes(origin, fine, group, class_names)
    return Facts(sum(len(labels[name]) for name in release.train), class_names, coarse_of)


def _files(release: Release, origin: Path) -> Iterator[tuple[str, BinaryIO]]:
    """The files by name, opened one after another; an archive must have the published checksum."""
    if origin.is_dir():
        changed = [name for name in release.files if _md5(origin / name) != release.md5[name]]
        if changed:
            print(
                f"warning: {origin}: {', '.join(changed)} not as published (other MD5); the results will not be those "
                f"of {release.title}",
                file=sys.stderr,
            )
        for name in release.files:
            with open(origin / name, "rb") as file:
                yield name, file
        return
    md5 = _md5(origin)
    if md5 != release.archive_md5:
        raise UserError(
            f"{origin}: its MD5 is {md5}, the published {release.archive} has {release.archive_md5}; the file is "
            f"incomplete or another one, fetch it again (dataset.download=true replaces it)"
        )
    with _archive_errors(origin), tarfile.open(origin, "r:gz") as archive:
        for member in archive:
            name = member.name.removeprefix("./").removeprefix(f"{release.folder}/")
            if name in release.files and member.isfile():
                opened = archive.extractfile(member)
                assert opened is not None
                with opened:
                    yield name, opened  # type: ignore[misc]  # a readable binary file


@contextlib.contextmanager
def _archive_errors(origin: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise UserError(f"{origin}: cannot be unpacked ({error}); fetch it again (dataset.download=true)") from error


def _md5(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _unpickle(where: Path, file: BinaryIO) -> dict[str, Any]:
    try:
        return safe_pickle.load(file)
    except safe_pickle.Refused as error:
        raise UserError(
            f"{where}: refused, its pickle asks for {error}, which no CIFAR file does; nothing of it was executed. "
            f"Replace the file with the published one"
        ) from error
    except ValueError as error:
        raise UserError(f"{where}: not a complete CIFAR pickle ({error}); replace the file") from error


def _images(where: Path, content: dict[str, Any]) -> Pixels:
    """(n, 3, 32, 32): a row is the red, then the green, then the blue plane, each row by row."""
    data = content.get("data")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3 * 32 * 32 or not len(data):
        found = f"shape {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
        raise UserError(f"{where}: b'data' should be a uint8 array (n, 3072), found {found}; replace the file")
    return data.reshape(-1, 3, 32, 32)


def _labels(where: Path, content: dict[str, Any], key: str, count: int | None = None) -> Labels:
    values = content.get(key)
    if not isinstance(values, list) or not all(type(value) is int and 0 <= value < 1 << 31 for value in values):
        raise UserError(f"{where}: b'{key}' should be a list of whole numbers from 0 on; replace the file")
    if count is not None and len(values) != count:
        raise UserError(f"{where}: {count} fine but {len(values)} coarse labels; replace the file")
    return np.array(values, np.int64)


def _class_names(where: Path, meta: dict[str, Any], key: str) -> tuple[str, ...]:
    names = meta.get(key)
    if not isinstance(names, list) or not names:
        raise UserError(f"{where}: b'{key}' should be the list of class names; replace the file")
    return tuple(safe_pickle.as_text(name) for name in names)


def _check_range(where: Path, labels: Labels, classes: int) -> None:
    if labels.max() >= classes:
        raise UserError(
            f"{where}: a label is {labels.max()}, but there are classes 0 to {classes - 1}; replace the file"
        )


def _coarse_classes(origin: Path, fine: Labels, coarse: Labels, class_names: tuple[str, ...]) -> tuple[int, ...]:
    """The coarse class of each fine class, from the labels of all images, which must agree."""
    found = []
    for label, name in enumerate(class_names):
        groups = np.unique(coarse[fine == label])
        if len(groups) != 1:
            said = "has no image" if not len(groups) else f"is in the coarse classes {' and '.join(map(str, groups))}"
            raise UserError(f"{origin}: the fine class {name} {said}; each belongs to exactly one, replace the files")
        found.append(int(groups[0]))
    return tuple(found)
