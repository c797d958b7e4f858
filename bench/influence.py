"""Influence scores of the training set over one forward pass of the teacher over it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bench.material import PAIRS, Material, Subject
from bench.measurement import Measurement, Setting, compared, interleaved
from kd_experiments.training.evaluation import outputs


def figures(setting: Setting) -> Iterator[Measurement]:
    for pair in PAIRS[1:] if setting.quick else PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            material = Material(Path(folder), 1000)
            yield of_teacher(material.subject(pair, setting.device), setting.repetitions(3), setting)


def of_teacher(subject: Subject, repetitions: int, setting: Setting) -> Measurement:
    data, network = subject.data, subject.teacher.network
    asked = scoring(subject, repetitions + 1)
    seconds = interleaved(
        {"scores": lambda: next(asked)(), "forward": lambda: outputs(network, data, data.train)},
        repetitions,
        setting.device,
    )
    return Measurement(
        name="influence",
        about="influence scores of the training set over one teacher forward pass of it",
        setting=f"{subject.config.teacher.network}, {len(data.train)} training and {len(data.val)} validation images",
        unit="x",
        better="lower",
        target=1.15,
        **compared(seconds["scores"], seconds["forward"]),
        parts=seconds,
        note=f"scores need the validation set's forward pass too, {len(data.val) / len(data.train):.0%} as many images",
    )


def scoring(subject: Subject, times: int) -> Iterator[Callable[[], object]]:
    """Scores as a run asks for them. A teacher keeps them by their settings: each call has another damping."""
    assert not subject.teacher.network.training  # loaded beforehand, as for the pass it is compared with
    dampings = (number / 1000 for number in range(1, times + 1))
    configs = [subject.with_overrides("selection=influence", f"selection.damping={damping}") for damping in dampings]
    return iter([partial(subject.teacher.selection_scores, config.selection) for config in configs])
