"""A data set as it is stored, before splits, noise and devices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from kd_experiments.data.image_files import Images


@dataclass(frozen=True)
class StoredDataset:
    """Images (N, C, H, W) uint8, or the files that hold them, and labels (N,) int64 of the official training and test
    sets, and class names.
    """

    train_images: Images
    train_labels: Tensor
    test_images: Images
    test_labels: Tensor
    class_names: tuple[str, ...]
    coarse: tuple[int, ...] | None = None  # coarse class of each class, where the data set has them
    release: Callable[[], None] = lambda: None  # called after a part was copied: the original's memory may go
