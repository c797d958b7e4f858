"""Where every random number comes from: a purpose and a counter, never a hidden state.

Two runs with one seed draw the same numbers for the same purpose, whatever else they do; a resumed run needs no saved
generator state. `derive` names a stream; `integers` is a counter-based generator (the SplitMix64 finaliser, Steele,
Lea and Flood 2014) that works on any device and depends on nothing but its key and its counters.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit sub-seed for one purpose, such as `derive(seed, "order", epoch)`."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def integers(key: int, counters: Tensor, below: int) -> Tensor:
    """Uniform integers in [0, below), one for each counter; int64, same shape and device as `counters`.

    The same (key, counter) gives the same number everywhere. `below` is at most 2**31; the bias of the multiply-shift
    reduction is below 2**-31 * `below`.
    """
    bits = _mix(_mix(counters * _signed(_GOLDEN_GAMMA) + key) + key)
    return ((_shift(bits, 33)) * below) >> 31


def ranking(key: int, count: int) -> Tensor:
    """A random permutation of range(count) that depends on `key` alone, (count,) int64 on the CPU."""
    bits = _mix(_mix(torch.arange(count) * _signed(_GOLDEN_GAMMA) + key) + key)
    return torch.argsort(bits, stable=True)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(_MULTIPLIERS[0])
    x = (x ^ _shift(x, 27)) * _signed(_MULTIPLIERS[1])
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift: torch's `>>` copies the sign bit."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(constant: int) -> int:
    return constant - (1 << 64) if constant >= 1 << 63 else constant
