"""A whole 240-epoch KD run on a GPU, evaluation in each epoch included."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.material import BATCH, PAIRS, Material, Quiet
from bench.measurement import Measurement, Setting
from kd_experiments.run import run

IMAGES = 45_000  # what CIFAR-100 leaves for training beside validation


def figures(setting: Setting) -> Iterator[Measurement]:
    values: list[float] = []
    epochs = 3 if setting.quick else 240
    note = "not run: no CUDA device here"
    if setting.device.type == "cuda":
        with tempfile.TemporaryDirectory() as folder:
            config = Material(Path(folder), IMAGES).config(PAIRS[0], f"recipe.epochs={epochs}")
            started = time.perf_counter()
            run(config, Quiet())
            values, note = [time.perf_counter() - started], "the teacher's table is empty at the start"
    yield Measurement(
        name="gpu_run",
        about=f"a KD run of {epochs} epochs from start to record",
        setting=f"{PAIRS[0][0]} -> {PAIRS[0][1]}, batch {BATCH}, {IMAGES} training images",
        unit="s",
        better="lower",
        target=None if setting.quick else 240.0,
        values=values,
        note=note,
    )
