"""Digits: 1797 grey images of 8 x 8 pixels that come inside scikit-learn (Alpaydin and Kaynak, UCI 1998)."""

from __future__ import annotations

import numpy as np
import torch

from kd_experiments.data.splits import stratified
from kd_experiments.data.stored import StoredDataset

TEST_SIZE = 450


def read_digits() -> StoredDataset:
    """The data set with its fixed test split: 450 stratified images, whatever the configuration says."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255.0 / 16.0)).astype(np.uint8)  # stored as 0..16
    images, labels = torch.from_numpy(pixels)[:, None], torch.from_numpy(bunch.target).long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[stratified(labels, TEST_SIZE, seed=0, purpose="digits test split")] = True
    return StoredDataset(
        images[~test], labels[~test], images[test], labels[test], tuple(str(digit) for digit in range(10))
    )
