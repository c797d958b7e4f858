"""Images that stay on the disk: a list of files that stands where a tensor of images stands in other data sets."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kd_experiments.errors import UserError


@dataclass(frozen=True)
class ImageFiles:
    """Files below `folder`, or parts of shards (`NAME.tar:OFFSET:LENGTH:CRC`), that become (3, size, size) uint8 each.

    `names` (N,) is one block of bytes and not a list of objects: processes that decode share its memory, while
    Python's counting of references to a million strings would slowly copy them into every one.
    """

    folder: Path
    names: NDArray[np.bytes_]
    size: int

    @staticmethod
    def of(folder: Path, names: Sequence[str], size: int) -> ImageFiles:
        return ImageFiles(folder, np.array([os.fsencode(name) for name in names], dtype=np.bytes_), size)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """That of the tensor it stands for."""
        return len(self), 3, self.size, self.size

    def __getitem__(self, index: Tensor) -> ImageFiles:
        """Those files, of indices (n,) or a mask (N,)."""
        return ImageFiles(self.folder, self.names[index.cpu().numpy()], self.size)

    def shards(self) -> Tensor | None:
        """In which shard each image lies, (N,) int64; None where every one is a file of its own."""
        if not len(self) or b".tar:" not in self.names[0]:
            return None
        return torch.from_numpy(np.unique([name.split(b":")[0] for name in self.names], return_inverse=True)[1])

    def path(self, index: int) -> Path:
        return self.folder / os.fsdecode(bytes(self.names[index]))

    def to(self, device: torch.device) -> ImageFiles:
        """Itself: what is decoded goes to the device, not the files."""
        return self


Images = Tensor | ImageFiles


def broken(path: Path, why: str) -> UserError:
    """The error for an image that a run needs and cannot decode."""
    return UserError(
        f"{path} ({why}): this image cannot be decoded; replace or remove it, or have such images found and left out "
        f"before the run begins with dataset.skip_corrupt=true"
    )
