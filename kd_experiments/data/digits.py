"""Digits: 1797 grey images of 8 x 8 pixels that come inside scikit-learn (Alpaydin and Kaynak, UCI 1998)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from kd_experiments.data.splits import stratified
from kd_experiments.data.stored import StoredDataset

TEST_SIZE = 450


def read_digits() -> StoredDataset:
    """The data set with its fixed test split: 450 stratified images, whatever the configuration says.

    A row of scikit-learn's file is an image and its label: it is read without scikit-learn, which takes longer to
    import than a small run to begin.
    """
    found = find_spec("sklearn")
    assert found is not None and found.origin is not None  # it is installed with this package
    rows = np.loadtxt(Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
    pixels = np.rint(rows[:, :-1] * (255.0 / 16.0)).astype(np.uint8)  # stored as 0..16
    images, labels = torch.from_numpy(pixels).reshape(-1, 1, 8, 8), torch.from_numpy(rows[:, -1]).long()
    test = torch.zeros(len(labels), dtype=torch.bool)
    test[stratified(labels, TEST_SIZE, seed=0, purpose="digits test split")] = True
    return StoredDataset(
        images[~test], labels[~test], images[test], labels[test], tuple(str(digit) for digit in range(10))
    )
