"""What a teacher said about every view of every training image: a table [sample, view] -> logits.

Views are finite and their ids do not depend on method, seed order or resume point, so an answer once given serves every
later epoch, run, seed, method and student with that teacher. Rows are float32 and lie memory-mapped in the teacher's
folder; several processes may fill the table at once, because whoever computes a row computes the same row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_experiments.training.files import told_plainly


class ViewTable:
    """`samples` x `views` rows of `classes` float32 logits at `path`, with one byte a row that says it is filled."""

    def __init__(self, path: Path, samples: int, views: int, classes: int) -> None:
        self.views = views
        rows = samples * views
        with told_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            seen_path = path.with_suffix(".seen")
            if _size(path) != rows * classes * 4 or _size(seen_path) != rows:
                seen_path.unlink(missing_ok=True)  # truncated, or of another shape: not trusted
                path.unlink(missing_ok=True)
                _allocate(path, rows * classes * 4)
                _allocate(seen_path, rows)
            self.logits = np.memmap(path, np.float32, "r+", shape=(rows, classes))
            self.seen = np.memmap(seen_path, np.uint8, "r+", shape=(rows,))

    def row(self, views: Tensor) -> np.ndarray:
        """Row of (sample i, views[i]) for every sample, (N,) int64."""
        return np.arange(len(views), dtype=np.int64) * self.views + views.cpu().numpy()

    def missing(self, views: Tensor) -> Tensor:
        """Samples whose row in these views is not filled yet, int64."""
        return torch.from_numpy(np.flatnonzero(self.seen[self.row(views)] == 0))

    def fill(self, samples: Tensor, views: Tensor, logits: Tensor) -> None:
        """Write the logits (n, C) of `samples` (n,) seen in `views` (n,); rows first, then the marks."""
        rows = samples.numpy() * self.views + views.cpu().numpy()
        self.logits[rows] = logits.cpu().numpy()
        self.seen[rows] = 1

    def read(self, views: Tensor) -> Tensor:
        """Logits of every sample in its view, (N, C) float32 on the CPU."""
        return torch.from_numpy(self.logits[self.row(views)])


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1


def _allocate(path: Path, size: int) -> None:
    with open(path, "wb") as file:
        file.truncate(size)  # sparse: takes room on the disk as it is filled
