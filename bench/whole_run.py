"""A whole run of 240 epochs on a GPU, worked out from measured epochs, and what torch.compile would change."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.epoch import EPOCHS, unseen_share
from bench.material import BATCH, PAIRS, Material, Subject
from bench.measurement import Measurement, Setting, compared, interleaved, timed
from kd_experiments.training.evaluation import outputs
from kd_experiments.training.loop import Training

IMAGES = 45_000  # what CIFAR-100 leaves for training beside validation
TARGET = 240.0


def figures(setting: Setting) -> Iterator[Measurement]:
    if setting.device.type != "cuda":
        yield _whole_run(setting, [], {}, IMAGES, "not run: no CUDA device here")
        return
    with tempfile.TemporaryDirectory() as folder:
        subject = Material(Path(folder), IMAGES).subject(PAIRS[0], setting.device)
        yield extrapolated(subject, setting, epochs=3)
        yield compiled(subject, setting, 5)


def extrapolated(subject: Subject, setting: Setting, epochs: int) -> Measurement:
    """Every epoch asks the teacher for the views that are new in it, trains, and evaluates on val and test."""
    data, device, training = subject.data, setting.device, subject.training()
    source = training.source
    assert source is not None and data.views is not None
    seconds: dict[str, list[float]] = {"fill": [], "train": [], "evaluate": []}
    learner = training.learners[0]

    def evaluate() -> None:
        for split in (data.val, data.test):
            outputs(learner.network, data, split)

    for epoch in range(epochs + 1):
        views = data.epoch_views(subject.config.seed, epoch)
        turn = {
            "fill": timed(partial(source.begin_epoch, views, False), device) / (1 - 1 / data.views.count) ** epoch,
            "train": timed(partial(training.train_epoch, epoch), device),
            "evaluate": timed(evaluate, device),
        }
        if epoch:  # the first one is the warm-up
            for name, value in turn.items():
                seconds[name].append(value)
    share = unseen_share(data.views.count, EPOCHS)
    turns = zip(seconds["fill"], seconds["train"], seconds["evaluate"], strict=True)
    values = [EPOCHS * (share * fill + train + evaluation) for fill, train, evaluation in turns]
    note = f"worked out from {epochs} measured epochs; the teacher labels {share:.1%} of the images an epoch shows"
    return _whole_run(setting, values, seconds, len(data.train), note)


def _whole_run(
    setting: Setting, values: list[float], parts: dict[str, list[float]], images: int, note: str
) -> Measurement:
    return Measurement(
        name="whole_run",
        about=f"a KD run of {EPOCHS} epochs with evaluation in each, the teacher's table empty at the start",
        setting=f"{PAIRS[0][0]} -> {PAIRS[0][1]}, batch {BATCH}, {images} training images",
        unit="s",
        better="lower",
        target=TARGET,
        values=values,
        parts=parts,
        note=note,
    )


def compiled(subject: Subject, setting: Setting, repetitions: int) -> Measurement:
    """A step whose student torch.compile has compiled, over the step that is recorded and replayed."""
    recorded, fused = subject.training(), subject.training()
    fused.recorder = None
    fused.learners[0].network.compile()
    parts = {"recorded": _some_steps(recorded), "compiled": _some_steps(fused)}
    seconds = interleaved(parts, repetitions, setting.device)
    return Measurement(
        name="compiled",
        about="an epoch with the student compiled by torch.compile over one with recorded steps",
        setting=f"{PAIRS[0][0]} -> {PAIRS[0][1]}, batch {BATCH}, {len(subject.data.train)} training images",
        unit="x",
        better="higher",
        target=None,
        **compared(seconds["compiled"], seconds["recorded"]),
        parts=seconds,
        note="above 1 recorded steps are the faster ones; compiling is not counted",
    )


def _some_steps(training: Training) -> Callable[[], object]:
    return partial(training.train_epoch, 0)
