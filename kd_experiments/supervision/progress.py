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
    def at(
        epoch: float | Tensor,
        epochs: float,
        fraction: float | Tensor | None = None,
        like: Tensor | None = None,
    ) -> Progress:
        """The progress at a given epoch; `fraction` defaults to epoch / epochs. `like` sets dtype and device of what is
        no tensor yet.
        """
        reference = torch.zeros(()) if like is None else like
        share = epoch / epochs if fraction is None else fraction
        return Progress(_scalar(epoch, reference), float(epochs), _scalar(share, reference))


def _scalar(value: float | Tensor, like: Tensor) -> Tensor:
    # new_full is a kernel; new_tensor would copy from the host and wait
    return value if isinstance(value, Tensor) else like.new_full((), value)
