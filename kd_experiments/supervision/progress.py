"""How far training has come, as tensors, so that a schedule costs no host synchronisation."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Progress(NamedTuple):
    """`epoch` counts from 0 to `epochs` - 1; `fraction` is iterations done over all iterations, in [0, 1)."""

    epoch: Tensor  # () float32
    epochs: float
    fraction: Tensor  # () float32

    @staticmethod
    def at(epoch: float, epochs: float, fraction: float | None = None, like: Tensor | None = None) -> Progress:
        """The progress at a given epoch; `fraction` defaults to epoch / epochs. `like` sets dtype and device."""
        reference = torch.zeros(()) if like is None else like
        share = epoch / epochs if fraction is None else fraction
        # new_full is a kernel; new_tensor would copy from the host and wait
        return Progress(reference.new_full((), epoch), float(epochs), reference.new_full((), share))
