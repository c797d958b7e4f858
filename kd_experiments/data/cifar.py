"""CIFAR-10 and CIFAR-100: 60000 colour images of 32 x 32 pixels (Krizhevsky 2009), read by torchvision.

They are distributed as pickles, which are programs: only the published files, by their MD5 sums, are ever opened.
Images of one's own belong in folders (`dataset=image_folder`).
"""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from kd_experiments import files
from kd_experiments.data import cache, finding
from kd_experiments.data.cache import Facts, Stored, Writer
from kd_experiments.data.settings import DatasetConfig
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError

# The coarse class of each fine class of CIFAR-100, as its files say it for every image.
COARSE = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15,
    0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19,
    18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip


def read_cifar(config: DatasetConfig, data_folder: Path) -> StoredDataset:
    """CIFAR-10, or CIFAR-100 with its fine labels, from `dataset.root`, or from `data_folder` or `data/`.

    `coarse` says to which of the 20 coarse classes each fine class belongs.
    """
    return stored_cifar(config, data_folder).source()


def _sums(release: Any) -> dict[str, str]:
    """The files of the folder and their published MD5 sums. `release` is torchvision's class."""
    return {**dict(release.train_list), **dict(release.test_list), release.meta["filename"]: release.meta["md5"]}


def _missing(release: Any, folder: Path) -> list[str]:
    return [name for name in _sums(release) if not (folder / name).is_file()]


def stored_cifar(config: DatasetConfig, data_folder: Path) -> Stored:
    """The cached arrays of `config.name`, built when needed."""
    from torchvision import datasets

    release = getattr(datasets, config.name.upper())
    folder = _find(release, config, data_folder)
    missing = _missing(release, folder)
    if missing:
        raise UserError(
            f"{folder}: {', '.join(missing)} missing; a complete {release.__name__} folder holds "
            f"{', '.join(_sums(release))}"
        )
    source_fingerprint = cache.fingerprint(folder, _sums(release))
    return cache.obtain(
        folder, config.name, source_fingerprint, lambda writer: _build(release, folder, writer), data_folder
    )


def _find(release: Any, config: DatasetConfig, data_folder: Path) -> Path:
    """The folder of the published files, unpacked or downloaded if need be."""
    places = finding.candidates(config, data_folder, [release.base_folder])
    unpacked = data_folder / release.base_folder
    for place in (*places, unpacked):
        named = config.root is not None and place in places
        there = [(place / name).is_file() for name, _ in (*release.train_list, *release.test_list)]
        if any(there) if named or place != unpacked else not _missing(release, place):  # what we unpacked is whole
            return place
    archives = [place if place.name == release.filename else place / release.filename for place in places]
    for archive in archives:
        if archive.is_file() and (not config.download or _md5(archive) == release.tgz_md5):
            return _unpack(release, archive, unpacked)
    if config.download:
        target = Path(config.root).expanduser() if config.root is not None else data_folder
        return _unpack(release, _download(release, target.parent if target.suffix == ".gz" else target), unpacked)
    raise finding.not_found(
        config,
        places,
        expected=f"the folder {release.base_folder}, its files {', '.join(_sums(release))}, or {release.filename}",
        otherwise=f"add dataset.download=true, or place {release.filename} or the folder {release.base_folder} in a "
        f"folder and give dataset.root=FOLDER",
    )


def _download(release: Any, target: Path) -> Path:
    """Fetch the archive (another process may just have done it); torchvision verifies its check sum."""
    from torchvision.datasets.utils import download_url

    try:
        with files.locked(target / f"{release.filename}.lock", f"downloads {release.filename}"):
            download_url(release.url, str(target), release.filename, release.tgz_md5)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"dataset.download=true: {release.__name__} could not be downloaded to {target} ({error}); fetch "
            f"{release.url} yourself, place it in a folder and give dataset.root=FOLDER"
        ) from error
    return target / release.filename


def _unpack(release: Any, archive: Path, folder: Path) -> Path:
    """Unpack the published archive, and no other, to `folder`."""
    from torchvision.datasets.utils import extract_archive

    found = _md5(archive)
    if found != release.tgz_md5:
        raise UserError(
            f"{archive}: its MD5 is {found}, the published {release.filename} has {release.tgz_md5}; the file is "
            f"incomplete or another one, fetch it again (dataset.download=true replaces it)"
        )
    try:
        with files.locked(folder.with_name(f"{folder.name}.lock"), f"unpacks {archive}"), files.told_plainly(folder):
            if _missing(release, folder):  # otherwise another process has unpacked it while this one waited
                with files.new_folder(folder) as temporary:
                    extract_archive(str(archive), str(temporary))
                    for file in (temporary / release.base_folder).iterdir():
                        file.rename(temporary / file.name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}); fetch it again") from error
    return folder


def _build(release: Any, folder: Path, writer: Writer) -> Facts:
    """Copy all images into the cache, training images first; refuse every file that is not the published one."""
    for name, published in _sums(release).items():
        found = _md5(folder / name)
        if found != published:
            raise UserError(
                f"{folder / name}: its MD5 is {found}, the published file has {published}, and another one is not "
                f"opened; fetch the published one, or place images of your own in folders for dataset=image_folder"
            )
    reader = type(release.__name__, (release,), {"base_folder": folder.name})  # a folder may have any name
    parts = [reader(str(folder.parent), train=train) for train in (True, False)]
    for part in parts:
        writer.append(np.ascontiguousarray(part.data.transpose(0, 3, 1, 2)), np.array(part.targets, np.int64))
    names = tuple(parts[0].classes)
    return Facts(len(parts[0]), names, COARSE[: len(names)] if release.__name__ == "CIFAR100" else None)


def _md5(path: Path) -> str:
    from torchvision.datasets.utils import calculate_md5

    try:
        return str(calculate_md5(str(path)))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
