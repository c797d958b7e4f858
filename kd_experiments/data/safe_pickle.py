"""Reading the pickles CIFAR is distributed as, without ever running what a pickle asks for.

A pickle is a program; the ordinary `pickle.load` runs it. The CIFAR files need containers, numbers, text and uint8
arrays, so an array is collected by a stand-in that knows nothing else, and every other name is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np


class Refused(Exception):
    """The pickle asks for something that is neither a container nor an array."""


class _Dtype:
    """Stands in for `numpy.dtype`: remembers its name."""

    def __init__(self, kind: Any = None, *flags: Any) -> None:
        self.kind = kind.decode() if isinstance(kind, bytes) else kind

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, which mean nothing for single bytes."""


class _Array:
    """Stands in for the call that makes an empty array, which is then given its state."""

    def __init__(self, *arguments: Any) -> None:
        self.value: np.ndarray[Any, np.dtype[np.uint8]] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, columns_first, content = state
        self.value = _uint8(content, dtype, shape, "F" if columns_first else "C")


def _uint8(content: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    if not isinstance(dtype, _Dtype) or dtype.kind not in ("u1", "|u1") or not isinstance(content, bytes | bytearray):
        raise Refused("an array of something else than uint8")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if order == "F" else "C")


def _from_buffer(content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
    """Stands in for the call with which protocol 5 writes an array."""
    array = _Array()
    array.value = _uint8(content, dtype, shape, order)
    return array


def _scalar(dtype: Any, content: Any) -> int:
    """Stands in for the call that makes a NumPy number: labels are sometimes written as such."""
    if not isinstance(dtype, _Dtype) or str(dtype.kind)[:1] not in "iu" or not isinstance(content, bytes):
        raise Refused("a number that is no integer")
    return int.from_bytes(content, "little", signed=str(dtype.kind).startswith("i"))


def _no_bytes(*arguments: Any) -> bytes:
    """Stands in for `bytes()`, with which Python 3 writes empty bytes in protocol 2."""
    if arguments:
        raise Refused("bytes of something")
    return b""


def _encode(text: Any, encoding: Any = None) -> bytes:
    """Stands in for `_codecs.encode`, with which Python 3 writes bytes in protocol 2."""
    if encoding != "latin1" or not isinstance(text, str):
        raise Refused("a codec other than latin1")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _no_bytes,
    ("builtins", "bytes"): _no_bytes,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise Refused(f"{module}.{name}")
        return _ALLOWED[module, name]


def load(file: BinaryIO) -> dict[str, Any]:
    """The mapping a CIFAR pickle holds, its keys as text; text of Python 2 comes as bytes.

    Raises `Refused` for a pickle that wants more than that, and `ValueError` for a broken one. Nothing is executed.
    """
    try:
        content = _Unpickler(file, encoding="bytes").load()
    except Refused:
        raise
    except Exception as error:  # broken opcodes end in almost any exception
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"it holds a {type(content).__name__}, not a dictionary")
    return {as_text(key): value.value if isinstance(value, _Array) else value for key, value in content.items()}


def as_text(value: Any) -> str:
    """Text, whether it was written by Python 2 or 3."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
