"""What methods cost that ask the teacher for its maps in every step, beside what cannot be left out: a bare step of the
student and a bare forward of the teacher, up to the deepest stage that the method reads.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from bench.material import BATCH, PAIRS, Material, Subject
from bench.measurement import Measurement, Setting, compared, timed
from bench.methods import STEPS, shortened
from kd_experiments.cli import layers
from kd_experiments.distillers import DISTILLERS
from kd_experiments.teachers.making import fresh_network
from kd_experiments.training.devices import autocast

PAIR = PAIRS[1]
TARGET = 1.15
SMALL = ("fitnet", "at", "sp", "nst", "vid", "ofd", "ft", "ab", "fsp")  # without large trainable parts


def figures(setting: Setting) -> Iterator[Measurement]:
    names = [
        name for name in layers.choices("method") if DISTILLERS[str(layers.distiller_of(name))].needs == "features"
    ]
    with tempfile.TemporaryDirectory() as folder:
        subject = Material(Path(folder), 500 if setting.quick else 1000).subject(PAIR, setting.device)
        yield from of_methods(subject, setting.chosen(names), setting.repetitions(5))


def of_methods(subject: Subject, names: list[str], repetitions: int) -> Iterator[Measurement]:
    """Each method's steps and the bare ones, in turn; a stage of initialisation is a figure of its own."""
    stages = len(subject.teacher.network.feature_shapes())
    for name in names:
        training = shortened(subject, name, STEPS)
        if subject.with_overrides(f"method={name}").source != "teacher":
            continue
        distiller = training.learners[0].objective.distiller
        for initialising in (True, False) if distiller.initialisation_epochs else (False,):
            deepest = distiller.deepest_stage(stages, initialising)
            bare = bare_steps(subject, deepest)
            own = partial(training.train_epoch, -1 if initialising else 0)
            steps = training.recipe.steps_per_epoch(len(subject.data.train)) if initialising else STEPS
            for part in (own, bare):
                part()
            device = subject.data.device
            times = [(timed(own, device) / steps, timed(bare, device) / STEPS) for _ in range(repetitions)]
            mine, theirs = [a for a, _ in times], [b for _, b in times]
            yield Measurement(
                name="live_cost",
                about=f"{name}{', initialising' if initialising else ''}: a step over the student's and the teacher's "
                f"{'nothing' if deepest is None else f'stages 0 to {deepest}'}, bare",
                setting=f"{PAIR[0]} -> {PAIR[1]}, batch {BATCH}",
                unit="x",
                better="lower",
                target=TARGET if name in SMALL else None,
                **compared(mine, theirs),
                parts={"own_seconds": mine, "bare_seconds": theirs},
                note="above 1 is the method's own part, with whatever the loop adds",
            )


def bare_steps(subject: Subject, deepest: int | None) -> Callable[[], None]:
    """`STEPS` times forward, backward and update of the student, and the teacher's forward up to a stage."""
    data, recipe, teacher = subject.data, subject.config.recipe, subject.teacher.network
    student = fresh_network(PAIR[1], data, 0, "bare").train()
    shape = (BATCH, data.channels, data.size, data.size)
    images = torch.randn(shape, device=data.device).to(memory_format=torch.channels_last)
    labels = torch.randint(0, data.classes, (BATCH,), device=data.device)
    optimizer = recipe.make_optimizer(student.parameters())

    def run() -> None:
        for _ in range(STEPS):
            with autocast(data.device):
                if deepest is not None:
                    with torch.inference_mode():
                        teacher.up_to(images, deepest)
                logits = student(images).logits
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()

    return run
