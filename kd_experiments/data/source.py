"""A data set as it is stored, before splits, noise and devices."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Source:
    """Images (N, C, H, W) uint8, labels (N,) int64 of the official training and test sets, and class names."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]
    coarse: tuple[int, ...] | None = None  # coarse class of each class, where the data set has them
