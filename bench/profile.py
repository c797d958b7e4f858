"""Where a step's time goes: a breakdown on the screen, and a trace for chrome://tracing or ui.perfetto.dev.

`python -m bench.profile [FOLDER]`; the trace goes to FOLDER (default: results/profile).
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench.material import BATCH, PAIRS, Material, Pair, Subject
from bench.measurement import here
from kd_experiments.places import PACKAGE
from kd_experiments.training.loop import Training
from kd_experiments.training.objective import Objective

PARTS = ("forward", "backward", "optimiser", "loss", "augmentation", "teacher", "rest")
STEPS = 16


class Stopwatch:
    """Seconds by part. Where parts are nested, time belongs to the innermost one."""

    def __init__(self, device: torch.device) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._device = device
        self._open = ["rest"]
        self._since = time.perf_counter()

    def _turn(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        with record_function(f"step: {name}"):
            yield
        self._turn()
        self._open.pop()

    def stop(self) -> dict[str, float]:
        self._turn()
        return dict(self.seconds)


def watched(training: Training, watch: Stopwatch) -> contextlib.ExitStack:
    """While it is open, what the parts of `training` do counts as theirs."""
    learner, source = training.learners[0], training.source
    assert source is not None
    places: list[tuple[object, str, str]] = [
        (type(learner.network), "forward", "forward"),
        (torch.Tensor, "backward", "backward"),
        (type(learner.optimizer), "step", "optimiser"),
        (type(learner.optimizer), "zero_grad", "optimiser"),
        (Objective, "forward", "loss"),
        (type(training.data), "epoch_views", "augmentation"),
        (type(training.data), "in_view", "augmentation"),
        (type(source), "begin_epoch", "teacher"),
        (type(source), "forward", "teacher"),
    ]
    stack = contextlib.ExitStack()
    for owner, method, part in places:
        stack.enter_context(mock.patch.object(owner, method, _counted(getattr(owner, method), watch, part)))
    return stack


def _counted(function: Callable[..., Any], watch: Stopwatch, part: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        with watch.part(part):
            return function(*arguments, **named)

    return call


def breakdown(training: Training) -> dict[str, float]:
    """Seconds of each part in one epoch whose table is filled."""
    watch = Stopwatch(training.data.device)
    with watched(training, watch):
        training.train_epoch(0)
        measured = watch.stop()
    return {part: measured.get(part, 0.0) for part in PARTS}


def trace(training: Training, path: Path) -> str:
    """Write a trace of one epoch; returns the operators that take most time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cuda = training.data.device.type == "cuda"
    activities = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if cuda else [ProfilerActivity.CPU]
    with profile(activities=activities) as run, watched(training, Stopwatch(torch.device("cpu"))):
        training.train_epoch(0)
    run.export_chrome_trace(str(path))
    key = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    events = [event for event in run.key_averages() if not event.key.startswith("step: ")]
    events.sort(key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events)
    return "\n".join(
        f"    {getattr(event, key) / total:6.1%}  {event.key}  ({event.count} calls)" for event in events[:8]
    )


def report(subject: Subject, pair: Pair, folder: Path) -> str:
    """One pair on one screen; its trace goes to `folder`."""
    training = subject.training()
    training.recorder = None  # the parts of a replayed step cannot be told apart
    training.train_epoch(0)  # fills the table, warms up
    seconds = breakdown(training)
    path = folder / f"{pair[0]}-{pair[1]}.json"
    operators = trace(training, path)
    total, steps = sum(seconds.values()), subject.config.recipe.steps_per_epoch(len(training.data.train))
    lines = [f"{pair[0]} -> {pair[1]}, KD, table filled, batch {BATCH}: {total / steps * 1e3:.1f} ms a step"]
    lines += [f"    {value / total:7.2%}  {value / steps * 1e3:8.2f} ms  {part}" for part, value in seconds.items()]
    return "\n".join([*lines, "  operators, share of their own time", operators, f"  trace: {path}"])


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE.parent / "results" / "profile"
    setting = here(quick=False)
    for pair in PAIRS:
        with tempfile.TemporaryDirectory() as place:
            subject = Material(Path(place), STEPS * BATCH).subject(pair, setting.device)
            print(report(subject, pair, folder), flush=True)


if __name__ == "__main__":
    main()
