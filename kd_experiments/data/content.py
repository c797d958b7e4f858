"""What makes data in folders the same data: names and bytes of the images, wherever the folder lies."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG

from kd_experiments import digests, files
from kd_experiments.data import shards
from kd_experiments.data.finding import candidates
from kd_experiments.data.image_folder import list_image_folder
from kd_experiments.data.settings import FOLDERS, OWN_IMAGES, DatasetConfig
from kd_experiments.errors import UserError

_PARTS = ("train", "val", "valid", "test")


def content_of(config: DatasetConfig, data_folder: Path) -> str | None:
    """What tells these data from others of the same name; None where the name says it all, or nothing is there.

    Of the user's own images their names and bytes, of published images in folders which of them are there.
    """
    if config.name not in FOLDERS:
        return None
    own = config.name in OWN_IMAGES
    for place in candidates(config, data_folder, FOLDERS[config.name]):
        if (place / "train").is_dir() or (own and config.root is not None and place.is_dir()):
            if not own:
                return of_names(place)
            if shards.are_there(place):
                return of_bytes(place, _names(place), data_folder)
            tree = list_image_folder(config, data_folder)  # refuses another layout, such as that of `/`, at once
            return of_bytes(tree.folder, sorted(Path(name).as_posix() for name in tree.files), data_folder)
    return None


def of_bytes(folder: Path, names: Sequence[str], kept_below: Path) -> str:
    """Digest of the names and bytes of images in `folder`, 16 hexadecimal digits.

    Reading every file takes a while, so the answer is kept for as long as no file's name, size or time of change does.
    """
    listed = [(name, status) for name in names if S_ISREG((status := os.stat(folder / name)).st_mode)]
    state = hashlib.sha256(repr([(name, s.st_size, s.st_mtime_ns) for name, s in listed]).encode()).hexdigest()
    path = kept_below / "content" / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]}.json"
    kept = files.read_json(path)
    if kept is not None and kept.get("state") == state:
        return str(kept["content"])
    with ThreadPoolExecutor(8) as pool:
        try:
            sums = list(pool.map(lambda one: digests.of_file(folder / one[0]), listed))
        except OSError as error:
            raise UserError(f"{error.filename}: cannot be read ({error.strerror})") from error
    content = digests.of_values({name: digest for (name, _), digest in zip(listed, sums, strict=True)})
    with contextlib.suppress(UserError):  # a folder that cannot be written costs time, not the run
        files.write_json(path, {"state": state, "content": content})
    return content


def of_names(folder: Path) -> str:
    """Digest of the names of all images of a published data set: which of its classes and images are there."""
    return digests.of_values({"names": _names(folder)})


def _names(folder: Path) -> list[str]:
    """Paths of all files below the parts of a data set, relative to it, sorted; hidden files are left out."""
    parts = [folder / part for part in _PARTS if (folder / part).is_dir()] or [folder]
    found = (Path(path).relative_to(folder).as_posix() for part in parts for path in _walk(part))
    return sorted(found)


def _walk(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(place, name) for name in names if not name.startswith("."))
