"""What a CUDA graph does, on a CPU: every kernel of a step written down, and done again with the very same tensors.

As in a graph, Python is not run again: numbers it worked out are what they were, tensors are read and written where
they lie, and an answer that the host would have to wait for is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

# What makes a GPU's host wait, needs a shape that depends on values, or copies from the host.
REFUSED = {
    "_local_scalar_dense", "item", "equal", "nonzero", "masked_select", "bincount", "unique_dim", "_unique2",
    "unique_consecutive", "repeat_interleave", "lift_fresh", "linalg_svd", "_linalg_svd", "_linalg_eigh",
    "linalg_cholesky_ex", "multinomial", "randperm",
}  # fmt: skip


class Tape(TorchDispatchMode):
    """Records the kernels that run while it is entered, and puts back what they have overwritten."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self._overwritten: list[tuple[Tensor, Tensor]] = []
        self._made: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        indices = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(isinstance(part, Tensor) and part.dtype == torch.bool for part in indices)
        if name in REFUSED or by_mask:
            raise RuntimeError(f"{func}: the host would wait for the device")
        given = {argument.name: value for argument, value in zip(func._schema.arguments, args, strict=False)} | kwargs
        for argument in func._schema.arguments:
            if argument.alias_info is not None and argument.alias_info.is_write:
                self._keep(given.get(argument.name))
        if name == "native_batch_norm":  # its running statistics, of which its schema says nothing
            self._keep(args[3:5])
        result = func(*args, **kwargs)
        results, known = _tensors(result), {_storage(part) for part in _tensors([args, kwargs])}
        self._made |= {_storage(part) for part in results} - known
        self.kernels.append((func, args, kwargs, results))
        return result

    def _keep(self, value: Any) -> None:
        for tensor in _tensors(value):
            if _storage(tensor) not in self._made:
                self._overwritten.append((tensor, tensor.clone()))

    @torch.no_grad()
    def rewind(self) -> None:
        """Everything that was there before is as it was before."""
        for tensor, old in reversed(self._overwritten):
            tensor.copy_(old)
        self._overwritten.clear()

    def replay(self) -> None:
        # Below autograd, as in the recording, but with gradients on: a convolution chooses its kernel by that.
        with torch._C._AutoDispatchBelowAutograd(), torch.enable_grad():
            for func, args, kwargs, results in self.kernels:
                for place, value in zip(results, _tensors(func(*args, **kwargs)), strict=True):
                    if place.data_ptr() != value.data_ptr():
                        place.copy_(value)


def _tensors(value: Any) -> list[Tensor]:
    return [part for part in tree_flatten(value)[0] if isinstance(part, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class TapeRecorder:
    """Stands in for `CudaRecorder`."""

    def __init__(self) -> None:
        self.recordings = 0

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        yield

    def record(self, step: Callable[[], Tensor]) -> tuple[Tape, Tensor]:
        self.recordings += 1
        tape = Tape()
        try:
            with torch.random.fork_rng(devices=[]), tape:
                result = step()
        finally:
            tape.rewind()
        return tape, result
