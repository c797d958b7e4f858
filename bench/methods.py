"""What each method costs beside KD: time and memory of a step, on one pair and batch."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from bench.material import BATCH, PAIRS, Material, Subject
from bench.measurement import Measurement, Setting, compared, timed
from kd_experiments.cli.choices import methods
from kd_experiments.distillers import DISTILLERS
from kd_experiments.training.loop import Training

PAIR = PAIRS[1]
STEPS = 3
LARGE = 16_384  # images: CRD draws so many negatives
BY_VIEW = 1.10  # target of methods that read the teacher's embedding by view


def figures(setting: Setting) -> Iterator[Measurement]:
    names = setting.chosen([method.name for method in methods()])
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), 500 if setting.quick else 1000)
        many = [name for name in names if name.startswith("crd")]
        subject = material.subject(PAIR, setting.device)
        yield from of_methods(subject, [name for name in names if name not in many], setting.repetitions(3))
        if many:
            subject = replace(material, images=LARGE).subject(PAIR, setting.device)
            yield from of_methods(subject, many, setting.repetitions(3))


def of_methods(subject: Subject, names: list[str], repetitions: int) -> Iterator[Measurement]:
    """Each method's steps beside KD's, in turn."""
    device = subject.data.device
    kd = steps(subject, "kd", STEPS)
    kd()  # fills the table
    kd_bytes = memory(subject, "kd")
    for name in names:
        by_view = DISTILLERS[subject.with_overrides(f"method={name}").method.distiller].needs == "embedding"
        method = steps(subject, name, STEPS)
        method()  # a warm-up
        times = [(timed(method, device), timed(kd, device)) for _ in range(repetitions)]
        own, reference = [a for a, _ in times], [b for _, b in times]
        bytes_ = kd_bytes if name == "kd" else memory(subject, name)  # two measurements differ by about .1 MB
        yield Measurement(
            name="method_cost",
            about=name,
            setting=f"{PAIR[0]} -> {PAIR[1]}, batch {BATCH}, {STEPS} steps a repetition",
            unit="x",
            better="lower",
            target=BY_VIEW if by_view else None,
            **compared(own, reference),
            parts={
                "step_ms": [value / STEPS * 1e3 for value in own],
                "kd_step_ms": [value / STEPS * 1e3 for value in reference],
                "memory_MB": [bytes_ / 1e6],
                "kd_memory_MB": [kd_bytes / 1e6],
            },
        )


def steps(subject: Subject, name: str, count: int) -> Callable[[], object]:
    """`count` steps of a method after its initialisation stage, as the training loop does them.

    They are the start of one and the same epoch, so that after the first call the teacher's table knows its views.
    """
    return partial(shortened(subject, name, count).train_epoch, 0)


def shortened(subject: Subject, name: str, count: int) -> Training:
    """A method's training whose first epoch, after an initialisation if there is one, has `count` steps."""
    config = subject.with_overrides(f"method={name}")
    return subject.training(replace(config, recipe=replace(config.recipe, iterations=count)))


def memory(subject: Subject, name: str) -> float:
    """Bytes a method's training takes at its peak: what it keeps between steps, and what one step allocates."""
    if subject.data.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        training = shortened(subject, name, 1)
        torch.cuda.reset_peak_memory_stats()
        training.train_epoch(0)
        return torch.cuda.max_memory_allocated() - before
    training = shortened(subject, name, 1)
    if training.source is not None:
        training.train_epoch(0)  # the table is filled
    kept = [tensor for learner in training.learners for tensor in _kept(learner.network, learner.objective)]
    kept += [
        value
        for learner in training.learners
        for state in learner.optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]
    if any(learner.objective.distiller.needs == "features" for learner in training.learners):
        kept += _kept(subject.teacher.network)
    return sum(tensor.nbytes for tensor in kept) + allocated(partial(training.train_epoch, 0))


def allocated(work: Callable[[], object]) -> int:
    """Peak bytes of CPU memory that torch holds during `work` beyond what it held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as run:
        work()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        run.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    changes = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    return max(accumulate((bytes_ for _, bytes_ in changes), initial=0))


def _kept(*modules: nn.Module) -> list[Tensor]:
    return [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
