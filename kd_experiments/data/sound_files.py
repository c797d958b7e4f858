"""Which files of a tree can be decoded: all are tried once, and the answer is kept until a file changes.

A data set that is never decoded as a whole learns of a broken image in the middle of an epoch. To leave such images out
of every split, and so train on the same ones whatever the order, they have to be known before.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from kd_experiments.data import cache
from kd_experiments.data.decode import BrokenImage, open_rgb
from kd_experiments.data.image_tree import WORKERS, ImageTree, refuse_empty_classes, warn_of_skipped, with_progress
from kd_experiments.files import read_json, write_json

PIECE = 256


def sound_files(tree: ImageTree, data_folder: Path) -> ImageTree:
    """The tree without the files that cannot be decoded, whose number is printed.

    Raises `UserError` if a class has no other. What was found is kept in `data_folder`.
    """
    found = _known(tree, data_folder)
    if not found:
        return tree
    broken = np.zeros(len(tree.files), dtype=bool)
    broken[[place for place, _ in found]] = True
    labels, parts = np.array(tree.labels), np.arange(len(tree.files)) >= tree.train
    counts = np.zeros((2, len(tree.class_names)), np.int64)
    np.add.at(counts, (parts[~broken].astype(np.int64), labels[~broken]), 1)
    first = f"{tree.files[found[0][0]]} ({found[0][1]})"
    refuse_empty_classes(tree, counts, first)
    warn_of_skipped(tree, len(found), first)
    kept = np.flatnonzero(~broken).tolist()
    return replace(
        tree,
        files=tuple(tree.files[place] for place in kept),
        labels=tuple(tree.labels[place] for place in kept),
        train=int((~broken[: tree.train]).sum()),
    )


def _known(tree: ImageTree, data_folder: Path) -> list[tuple[int, str]]:
    """The place in the tree of every broken file and why, from the last time if no file has changed since."""
    fingerprint = cache.fingerprint(tree.folder, tree.files)
    digest = hashlib.sha256(os.fsencode(tree.folder.resolve())).hexdigest()[:8]
    path = data_folder / f"broken-images-{digest}.json"
    kept = read_json(path)
    if kept is not None and kept.get("fingerprint") == fingerprint:
        return [(place, why) for place, why in kept["broken"]]
    pieces = with_progress(f"checking {tree.folder.name} (once)", len(tree.files), PIECE, _checked(tree))
    broken = [image for piece in pieces for image in piece]
    write_json(path, {"fingerprint": fingerprint, "broken": broken})
    return broken


def _checked(tree: ImageTree) -> Iterator[list[tuple[int, str]]]:
    """The broken ones of all files in order, piece by piece, in threads."""

    def check(start: int) -> list[tuple[int, str]]:
        broken = []
        for place in range(start, min(start + PIECE, len(tree.files))):
            try:
                open_rgb(tree.folder / tree.files[place])
            except BrokenImage as error:
                broken.append((place, str(error)))
        return broken

    pool = ThreadPoolExecutor(WORKERS)
    try:
        yield from pool.map(check, range(0, len(tree.files), PIECE))
    finally:
        pool.shutdown(cancel_futures=True)
