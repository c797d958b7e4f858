"""Data sets stored as one file an image: all files decoded once, in threads, into the cache."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kd_experiments.data import cache
from kd_experiments.data.cache import Facts, Labels, Pixels, Stored, Writer
from kd_experiments.data.decode import BrokenImage, OtherSize, decode, endings, open_rgb
from kd_experiments.data.finding import some
from kd_experiments.data.settings import ImageTreeConfig
from kd_experiments.errors import UserError, shortened

WORKERS = min(16, os.cpu_count() or 1)
PIECE_BYTES = 1 << 22  # what one thread decodes before it hands over; twice WORKERS of them are in memory at most
SHOW_PROGRESS_FROM = 5_000
P = TypeVar("P")


@dataclass(frozen=True)
class ImageTree:
    """Which files belong to a data set, training images first, and the class of each."""

    folder: Path
    files: tuple[str, ...]  # relative to `folder`
    labels: tuple[int, ...]
    train: int
    class_names: tuple[str, ...]
    lists: tuple[str, ...] = ()  # text files that say what is what
    native_size: int | None = None  # None: whatever the first image has


def store(tree: ImageTree, config: ImageTreeConfig, data_folder: Path) -> Stored:
    """The cached arrays of a tree, decoded when needed.

    Raises `UserError` naming the file when an image is broken (unless `dataset.skip_corrupt=true`: then it is left
    out, and the number printed) or of another size (unless `dataset.image_size` says how large all become).
    """
    size, native = config.image_size, tree.native_size
    source_fingerprint = cache.fingerprint(
        tree.folder,
        (*tree.lists, *tree.files),
        labels=tree.labels,
        train=tree.train,
        classes=tree.class_names,
        size=size,
        native=native,
    )
    key = config.name if size is None else f"{config.name}-{size}"
    stored = cache.obtain(
        tree.folder, key, source_fingerprint, lambda writer: _build(tree, config, writer), data_folder
    )
    if stored.facts.skipped:
        if not config.skip_corrupt:  # a run that allowed it has built this cache
            raise _broken(tree, stored.facts.first_skipped)
        warn_of_skipped(tree, stored.facts.skipped, stored.facts.first_skipped)
    return stored


def warn_of_skipped(tree: ImageTree, skipped: int, first: str) -> None:
    """Say how many images are left out; `first` is the first of them and why."""
    told = f"{skipped} of {len(tree.files)} images cannot be decoded and are left out, the first is {first}"
    print(f"warning: {shortened(f'{tree.folder}: {told}', 1000)}", file=sys.stderr)


def images_below(folder: Path) -> list[str]:
    """Image files in a folder and its subfolders, relative to it, in the order of torchvision's ImageFolder.

    Raises `UserError` for links that lead out of the folder, or to folders, which may lead in a circle.
    """
    known, base = endings(), os.path.realpath(folder)
    places: list[tuple[str, list[str]]] = []
    waiting = [""]
    while waiting:
        below = waiting.pop()
        names = []
        with os.scandir(os.path.join(base, below)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(os.path.join(below, entry.name))
                elif os.path.splitext(entry.name)[1].lower() in known and not entry.name.startswith("."):
                    names.append(entry.name)
                if entry.is_symlink():
                    _refuse_link(entry, base)
        places.append((below, sorted(names)))
    return [os.path.join(below, name) for below, names in sorted(places) for name in names]


def _refuse_link(entry: os.DirEntry[str], base: str) -> None:
    target = os.path.realpath(entry.path)
    if os.path.isdir(target) or os.path.commonpath([base, target]) != base:
        raise UserError(
            f"{entry.path}: a link {'to a folder' if os.path.isdir(target) else 'out of its class folder'}; place the "
            f"images themselves there (a class folder as a whole may be a link)"
        )


def class_folders(part: Path) -> list[str]:
    """Names of the subfolders that hold a class each, sorted."""
    try:
        return sorted(entry.name for entry in os.scandir(part) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise UserError(f"{part}: cannot be listed ({error.strerror})") from error


def list_classes(folder: Path, part: str, classes: Sequence[str], below: str = "") -> tuple[list[str], list[int]]:
    """Files of `part` with their labels, class after class; images stand in `part/<class>/<below>`."""
    files: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        place = Path(part, name, below)
        if not (folder / place).is_dir():
            raise UserError(f"{folder / place}: there is no such folder; every class needs one")
        found = images_below(folder / place)
        if not found:
            there = sorted(entry.name for entry in (folder / place).iterdir())
            raise UserError(f"{folder / place}: no image in it ({some(there) or 'it is empty'}); every class needs one")
        files += [os.path.join(place, file) for file in found]  # pathlib would take seconds for 100000 names
        labels += [label] * len(found)
    return files, labels


def same_classes(folder: Path, part: str, expected: Sequence[str], whose: str) -> None:
    """Refuse a part whose class folders are not exactly the `expected`; `whose` says where those come from."""
    found = class_folders(folder / part)
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        said = [f"{some(missing)} missing"] * bool(missing) + [f"{some(extra)} unexpected"] * bool(extra)
        raise UserError(
            f"{folder / part}: {' and '.join(said)}; its {len(found)} class folders should be the {len(expected)} "
            f"{whose}"
        )


def _build(tree: ImageTree, config: ImageTreeConfig, writer: Writer) -> Facts:
    """Decode everything, in order, into the cache."""
    size = config.image_size or tree.native_size or _first_size(tree, config.skip_corrupt)
    labels = np.array(tree.labels, np.int64)
    train, skipped, first_skipped = 0, 0, ""
    counts = np.zeros((2, len(tree.class_names)), np.int64)  # of images in each part's classes
    text = f"decoding {tree.folder.name} (once)"
    step = min(512, max(1, PIECE_BYTES // (3 * size * size)))
    pieces = _decoded(tree, size, step, resize=config.image_size is not None)
    for piece in with_progress(text, len(tree.files), step, pieces):
        if piece.other_size:
            raise UserError(
                f"{tree.folder / piece.other_size}, expected {size}x{size}; give dataset.image_size={size} to resize "
                f"and crop all images to squares"
            )
        if piece.broken:
            first_skipped = first_skipped or piece.broken[0]
            skipped += len(piece.broken)
            if not config.skip_corrupt:
                raise _broken(tree, first_skipped)
        writer.append(piece.images, labels[piece.kept])
        train += int((piece.kept < tree.train).sum())
        np.add.at(counts, ((piece.kept >= tree.train).astype(np.int64), labels[piece.kept]), 1)
    refuse_empty_classes(tree, counts, first_skipped)
    return Facts(train, tree.class_names, None, skipped, first_skipped)


def refuse_empty_classes(tree: ImageTree, counts: Labels, first_broken: str) -> None:
    """`counts` (2, C): how many training and test images of each class can be decoded. Every class needs one."""
    if not counts.all():
        part, label = np.argwhere(counts == 0)[0]
        raise UserError(
            f"{tree.folder}: no {('training', 'test')[part]} image of class {tree.class_names[label]} can be decoded, "
            f"the first broken one is {first_broken}; replace the files"
        )


@dataclass(frozen=True)
class _Piece:
    """Some consecutive files, decoded."""

    images: Pixels  # (k, 3, S, S)
    kept: Labels  # (k,) their places in the tree
    broken: list[str]
    other_size: str | None


def _decoded(tree: ImageTree, size: int, step: int, resize: bool) -> Iterator[_Piece]:
    """All files in order, `step` a piece, decoded ahead in threads (Pillow frees Python's lock while it decodes)."""

    def work(start: int) -> _Piece:
        places = range(start, min(start + step, len(tree.files)))
        images = np.empty((len(places), 3, size, size), np.uint8)
        kept: list[int] = []
        broken: list[str] = []
        for place in places:
            name = tree.files[place]
            try:
                images[len(kept)] = decode(tree.folder / name, size, resize)
            except BrokenImage as error:
                broken.append(f"{name} ({error})")
            except OtherSize as error:
                return _Piece(images[:0], np.empty(0, np.int64), broken, f"{name}: it is {error}")
            else:
                kept.append(place)
        return _Piece(images[: len(kept)], np.array(kept, np.int64), broken, None)

    pending: deque[Future[_Piece]] = deque()
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for start in range(0, len(tree.files), step):
            pending.append(pool.submit(work, start))
            if len(pending) >= 2 * WORKERS:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def with_progress(text: str, images: int, step: int, pieces: Iterator[P]) -> Iterator[P]:
    """The same pieces of `step` images, with a progress bar (one line without a terminal) if there are many images."""
    console = Console(stderr=True)
    if images <= SHOW_PROGRESS_FROM:
        yield from pieces
        return
    if not console.is_terminal:
        print(f"{text}: {images} images", file=sys.stderr)
        yield from pieces
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(text, total=images)
        for number, piece in enumerate(pieces, start=1):
            yield piece
            progress.update(task, completed=min(number * step, images))


def _first_size(tree: ImageTree, skip_corrupt: bool) -> int:
    """The size all images should have because the first one has it, which must be a square."""
    for name in tree.files:
        try:
            width, height = open_rgb(tree.folder / name).size
        except BrokenImage as error:
            if skip_corrupt:
                continue
            raise _broken(tree, f"{name} ({error})") from error
        if width != height:
            raise UserError(
                f"{tree.folder / name}: it is {width}x{height}, not a square; give dataset.image_size=32 (or another "
                f"size) to resize and crop all images"
            )
        return width
    raise UserError(f"{tree.folder}: none of its {len(tree.files)} images can be decoded")


def _broken(tree: ImageTree, what: str) -> UserError:
    return UserError(
        f"{tree.folder / what}: this image cannot be decoded; replace or remove it, or leave out all such images with "
        f"dataset.skip_corrupt=true"
    )
