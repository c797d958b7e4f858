"""What relational distillers share: a relation between samples counts only if the source teaches all of them.

Masks keep the shapes static; a mean over taught samples alone is a masked sum over their number.
"""

from __future__ import annotations

from torch import Tensor


def counted(taught: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """0/1 numbers of the dtype of `like`, (B,), and how many ones there are, at least 1, ()."""
    ones = taught.to(like.dtype)
    return ones, ones.sum().clamp_min(1)


def pairs(taught: Tensor, like: Tensor) -> Tensor:
    """1 where both samples are taught, (B,) -> (B, B)."""
    ones = taught.to(like.dtype)
    return ones[:, None] * ones
