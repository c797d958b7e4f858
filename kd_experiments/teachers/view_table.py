"""What a teacher says about every view of every training image: a table [sample, view] -> logits, or embedding.

Views are finite and their ids do not depend on method, seed, order or resume point, so an answer once given serves
every later epoch, run, seed, method and student with that teacher. A table lies on disk, memory-mapped and shared by
every process that asks this teacher; or in the memory of the device; or nowhere, and every epoch's answers are computed
anew.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from kd_experiments import files

if sys.platform != "win32":  # where rows are never wrong, but two processes may compute the same one
    import fcntl

Format = Literal["float32", "float16"]
Holds = Literal["logits", "embedding"]

_FORMAT_VERSION = 3
_HEADER = 4096  # bytes, so that the rest begins on a page
_PIECE = 16 << 20  # bytes that are mapped, at most, before they are released
_AROUND = 16 * mmap.PAGESIZE  # what the system maps around a byte that is touched


@dataclass(frozen=True)
class TableKind:
    """What makes two tables the same: whose answers, about which views of which images, in which number format."""

    teacher: str  # identity of the weights
    samples: int
    views: int  # how many each image has
    view_names: str  # which views the numbers mean
    columns: int  # classes, or the width of the embedding
    dtype: Format
    holds: Holds = "logits"

    @property
    def rows(self) -> int:
        return self.samples * self.views

    @property
    def row_bytes(self) -> int:
        return self.columns * np.dtype(self.dtype).itemsize

    @property
    def size(self) -> int:
        """Bytes of the rows and their check sums."""
        return self.rows * (self.row_bytes + 4)


class ViewTable(Protocol):
    """Where answers are kept. `samples` (n,) int64 and `views` (n,) int64 name rows; rows are (n, columns) float32."""

    def get(self, samples: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        """The rows on the table's device, and the places 0..n-1 of those that are not known yet, int64 on the CPU."""

    def put(self, samples: Tensor, views: Tensor, said: Tensor) -> Tensor:
        """Keep rows; returns them as `get` would."""

    def claim(self, samples: Tensor, wait: bool) -> AbstractContextManager[bool]:
        """Hold the rows of these samples against other processes; False if another holds some and `wait` is not."""


class NoTable:
    """Keeps nothing."""

    def __init__(self, kind: TableKind, device: torch.device) -> None:
        self._columns = kind.columns
        self._device = device

    def get(self, samples: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros(len(samples), self._columns, device=self._device), torch.arange(len(samples))

    def put(self, samples: Tensor, views: Tensor, said: Tensor) -> Tensor:
        return said

    def claim(self, samples: Tensor, wait: bool) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(True)


class MemoryTable:
    """Rows in the memory of `device`, for one process; starts from what a table on disk knows, if there is one."""

    def __init__(self, kind: TableKind, device: torch.device, start: DiskTable | None = None) -> None:
        self._views = kind.views
        self._device = device
        self._rows = torch.zeros(kind.rows, kind.columns, dtype=getattr(torch, kind.dtype), device=device)
        self._known = torch.zeros(kind.rows, dtype=torch.bool, device=device)
        if start is not None:
            for first, rows, known in start.everything():
                self._rows[first : first + len(rows)] = rows.to(device)
                self._known[first : first + len(rows)] = known.to(device)

    def get(self, samples: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        place = self._place(samples, views)
        return self._rows[place].float(), torch.nonzero(~self._known[place]).flatten().cpu()

    def put(self, samples: Tensor, views: Tensor, said: Tensor) -> Tensor:
        place = self._place(samples, views)
        rows = said.to(self._device, self._rows.dtype)
        self._rows[place] = rows
        self._known[place] = True
        return rows.float()

    def claim(self, samples: Tensor, wait: bool) -> AbstractContextManager[bool]:
        return contextlib.nullcontext(True)

    def _place(self, samples: Tensor, views: Tensor) -> Tensor:
        return samples.to(self._device) * self._views + views.to(self._device)


class DiskTable:
    """Rows in a memory-mapped file: a header that says what it is, a check sum a row, the rows.

    A row counts as known only if its check sum is right. So a row that was torn by a crash, lost by a full disk or a
    network file system, or brought from elsewhere is computed again, never believed.
    """

    def __init__(self, path: Path, kind: TableKind, device: torch.device) -> None:
        self.path = path
        self.kind = kind
        self._device = device
        header = json.dumps({"format": _FORMAT_VERSION, **asdict(kind)}, sort_keys=True).encode().ljust(_HEADER)
        size = _HEADER + kind.size
        with files.told_plainly(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if not _is(path, header, size):
                if path.exists():
                    files.damaged(path, "or of another teacher: begun anew")
                with files.new_file(path) as file:  # whoever uses a truncated or foreign one may keep it mapped
                    file.write(header)
                    file.truncate(size)  # sparse: takes room on the disk as it is filled
            with open(path, "r+b") as file:
                self._map = mmap.mmap(file.fileno(), size)
            self._lock_file = open(path.with_suffix(".lock"), "ab")  # noqa: SIM115  # held as long as the table
        self._sums = np.frombuffer(self._map, np.uint32, kind.rows, _HEADER)
        shape = (kind.rows, kind.columns)
        self._rows = np.frombuffer(self._map, kind.dtype, kind.rows * kind.columns, _HEADER + kind.rows * 4)
        self._rows = self._rows.reshape(shape)
        half_words = kind.row_bytes // 2
        # Odd weights: a row that was shifted or exchanged in places has another sum.
        self._weights = np.random.default_rng(0).integers(0, 2**32, half_words, np.uint32) | np.uint32(1)

    def get(self, samples: Tensor, views: Tensor) -> tuple[Tensor, Tensor]:
        place = self._place(samples, views)
        rows = np.empty((len(place), self.kind.columns), self.kind.dtype)
        known = np.empty(len(place), bool)
        at_once = max(1, _PIECE // (self.kind.row_bytes + 2 * _AROUND))  # a row and its check sum
        for first in range(0, len(place), at_once):
            piece = slice(first, first + at_once)
            known[piece] = self._known(place[piece], rows[piece])
            self._release()
        rows[~known] = 0
        return self._floats(rows), torch.from_numpy(np.flatnonzero(~known))

    def put(self, samples: Tensor, views: Tensor, said: Tensor) -> Tensor:
        place = self._place(samples, views)
        rows = said.cpu().numpy().astype(self.kind.dtype)
        self._rows[place] = rows
        self._sums[place] = self._sum(rows)
        self._release()
        return self._floats(rows)

    @contextlib.contextmanager
    def claim(self, samples: Tensor, wait: bool) -> Iterator[bool]:
        if sys.platform == "win32":
            yield True
            return
        # One byte of the lock file stands for one sample; the system frees the bytes of a process that dies.
        first, last = int(samples.min()), int(samples.max())
        span = (last - first + 1, first)
        try:
            fcntl.lockf(self._lock_file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, *span)
        except OSError:
            if not wait:
                yield False
                return
            raise
        try:
            yield True
        finally:
            fcntl.lockf(self._lock_file, fcntl.LOCK_UN, *span)

    def everything(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Runs of rows from the top: number of the first, rows as stored (n, columns), known or not (n,) bool."""
        at_once = max(1, _PIECE // self.kind.row_bytes)
        for first in range(0, self.kind.rows, at_once):
            piece = slice(first, first + at_once)
            rows = np.empty_like(self._rows[piece])
            known = self._known(piece, rows)
            self._release()
            yield first, torch.from_numpy(rows), torch.from_numpy(known)

    def _known(self, place: np.ndarray | slice, rows: np.ndarray) -> np.ndarray:
        """Copy the rows at `place` to `rows`; which are as they were written, (n,) bool."""
        sums = self._sums[place].copy()  # first: another process may just write them, and writes the sums last
        rows[...] = self._rows[place]
        known: np.ndarray = self._sum(rows) == sums
        if (sums[~known] != 0).any():
            files.damaged(self.path, "its damaged rows are computed again")
        return known

    def _sum(self, rows: np.ndarray) -> np.ndarray:
        """Check sums (n,) uint32, never 0, which an unwritten row has."""
        words = rows.view(np.uint16).astype(np.uint32)
        words *= self._weights
        return words.sum(1, dtype=np.uint32) | np.uint32(1)

    def _floats(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows.astype(np.float32, copy=False)).to(self._device)

    def _place(self, samples: Tensor, views: Tensor) -> np.ndarray:
        place: np.ndarray = samples.cpu().numpy() * self.kind.views + views.cpu().numpy()
        return place

    def _release(self) -> None:
        """Give back the mapped pages: they stay in the system's cache, but are no memory of this process."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def _is(path: Path, header: bytes, size: int) -> bool:
    if not path.exists() or path.stat().st_size != size:
        return False
    with open(path, "rb") as file:
        return file.read(_HEADER) == header
