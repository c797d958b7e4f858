"""Losses are computed in float32 at least, whatever they are called with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
R = TypeVar("R")


def full_precision(loss: Callable[P, R]) -> Callable[P, R]:
    """Raise float16 and bfloat16 tensors, in lists too, to float32 first: their range ends before a squared error or
    the logarithm of a small probability does.
    """

    @functools.wraps(loss)
    def raised(*args: P.args, **kwargs: P.kwargs) -> R:
        return loss(*map(_raised, args), **{name: _raised(value) for name, value in kwargs.items()})

    return raised


def _raised(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value
    if type(value) in (list, tuple):
        return [_raised(item) for item in value]
    return value
