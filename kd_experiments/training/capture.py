"""A training step recorded once and replayed: the host starts one graph in place of a thousand kernels.

A step of a small network is many kernels of a few microseconds each, and a GPU ends them faster than the host can start
them. A CUDA graph holds the very kernels the step has started, so a replayed step computes what the written one does.
torch.compile would fuse kernels as well, but must compile every method and network anew, and rounds otherwise.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal, Protocol

import torch
from torch import Tensor

from kd_experiments.errors import UserError
from kd_experiments.training import parallel

WARM_UP = 3  # steps before the recording, in which libraries choose their algorithms and take their workspaces
TOLERANCE = 0.01  # of a step's change: kernels that add in any order do not repeat themselves to the last digit


class Graph(Protocol):
    """A recorded step; it reads and writes the tensors it was recorded with."""

    def replay(self) -> None: ...


class Recorder(Protocol):
    """What can record a step."""

    def aside(self) -> AbstractContextManager[None]:
        """Around every step before the recording."""

    def record(self, step: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        """Write down what `step` does without doing it; the tensor it returns is filled by each replay.

        Raises `RuntimeError` for a step that cannot be recorded: one that reads a number on the host, say.
        """


class CudaRecorder:
    """Records CUDA graphs on `device`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, step: Callable[[], Tensor]) -> tuple[Graph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        # Other threads, which pin memory for streamed images, may go on meanwhile.
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            result = step()
        return graph, result


def recorder(device: torch.device, wish: Literal["auto", "off"]) -> Recorder | None:
    """Steps are recorded where there are graphs, unless several processes exchange gradients within a step."""
    if wish == "off" or device.type != "cuda" or parallel.processes() > 1:
        return None
    return CudaRecorder(device)


class RecordedStep:
    """`step(*inputs)`, as it is written at first, then recorded and replayed.

    `inputs` are tensors of one shape, numbers or None; each has its place on the device, from which the step reads it.
    `state` gives every tensor that a step changes, always the same ones. Steps of another shape, such as an epoch's
    last, run as they are written. So does everything if the step cannot be recorded, or if a replay, compared once
    with the written step, does not do the same: then `RuntimeWarning` says so.
    """

    def __init__(
        self,
        step: Callable[..., Tensor],
        recorder: Recorder,
        state: Callable[[], Sequence[Tensor]],
        device: torch.device,
    ) -> None:
        self._step = step
        self._recorder = recorder
        self._state = state
        self._device = device
        self._places: list[Tensor | None] = []
        self._done = 0
        self._graph: Graph | None = None
        self._result: Tensor | None = None
        self._trusted = False
        self._given_up = False

    def __call__(self, *inputs: Tensor | float | None) -> Tensor:
        """The step's result; the next step may overwrite it."""
        if self._given_up or not self._fits(inputs):
            return self._step(*map(self._tensor, inputs))
        self._put(inputs)
        if self._done == WARM_UP:
            self._record()
        self._done += 1
        if self._graph is None or self._done == WARM_UP + 1:  # a recording is no step
            return self._as_written()
        if not self._trusted:
            return self._compare(self._graph)
        self._graph.replay()
        assert self._result is not None
        return self._result

    def _tensor(self, value: Tensor | float | None) -> Tensor | None:
        return torch.full((), float(value), device=self._device) if isinstance(value, int | float) else value

    def _fits(self, inputs: Sequence[Tensor | float | None]) -> bool:
        return not self._places or all(
            place is None or not isinstance(value, Tensor) or place.shape == value.shape
            for place, value in zip(self._places, inputs, strict=True)
        )

    def _put(self, inputs: Sequence[Tensor | float | None]) -> None:
        if not self._places:
            self._places = [
                torch.empty_like(tensor) if isinstance(tensor := self._tensor(value), Tensor) else None
                for value in inputs
            ]
        for place, value in zip(self._places, inputs, strict=True):
            if place is not None:
                assert value is not None
                place.copy_(value) if isinstance(value, Tensor) else place.fill_(value)

    def _as_written(self) -> Tensor:
        with self._recorder.aside():
            return self._step(*self._places)

    def _record(self) -> None:
        held = [tensor.data_ptr() for tensor in self._state()]
        try:
            self._graph, self._result = self._recorder.record(lambda: self._step(*self._places))
        except RuntimeError as error:
            first, *_ = str(error).splitlines() or [type(error).__name__]
            self._give_up(f"cannot be recorded ({first})")
        if held != [tensor.data_ptr() for tensor in self._state()]:
            raise UserError(
                "a part of this method puts a new tensor in the place of a buffer in every step, which a recorded step "
                "cannot follow; give capture=off, or let the part change its buffer in place"
            )

    def _compare(self, graph: Graph) -> Tensor:
        """Replay, undo, and take the step as it is written; the run goes on from the latter."""
        state = self._state()
        before = [tensor.clone() for tensor in state]
        with torch.random.fork_rng(devices=[self._device] if self._device.type == "cuda" else []):
            graph.replay()
        assert self._result is not None
        replayed = [self._result.clone(), *(tensor.clone() for tensor in state)]
        with torch.no_grad():
            for tensor, old in zip(state, before, strict=True):
                tensor.copy_(old)
        result = self._as_written()
        self._trusted = alike(replayed, [result, *state], [torch.zeros_like(result), *before])
        if not self._trusted:
            self._give_up("does something else when it is replayed")
        return result

    def _give_up(self, reason: str) -> None:
        self._given_up, self._graph, self._result = True, None, None
        warnings.warn(
            f"the training step {reason}: it runs as it is written, which gives the same numbers and takes longer "
            f"(capture=off does so from the start)",
            RuntimeWarning,
            stacklevel=2,
        )


@torch.no_grad()
def alike(replayed: Sequence[Tensor], written: Sequence[Tensor], before: Sequence[Tensor]) -> bool:
    """Did every tensor change alike? Of a change as small as a tensor's last digits nothing is asked."""
    verdicts = []
    for ours, theirs, old in zip(replayed, written, before, strict=True):
        ours, theirs, old = ours.double(), theirs.double(), old.double()
        allowed = TOLERANCE * (theirs - old).norm() + 1e-6 * theirs.norm()
        verdicts.append((ours - theirs).norm() <= allowed)
    return bool(torch.stack(verdicts).all())
