"""Twenty runs of logit methods with one teacher over twenty of the student alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.material import BATCH, PAIRS, Material, Quiet
from bench.measurement import Measurement, Setting, timed
from kd_experiments.single_run import run

METHODS = (
    "kd", "logit_mse", "dkd", "dist", "ctkd", "rld", "rc", "standardised_kd", "standardised_dkd", "lr",
    "ds", "lrds", "kd_lrds", "lr_rld", "la_ps", "la_lsr", "dtd_flsw", "la_dtd", "btkd_elimination", "btkd",
)  # fmt: skip
PAIR = PAIRS[1]
EPOCHS = 2
LR = 1e-9  # the random teacher says enormous things, from which nothing may be learned


def figures(setting: Setting) -> Iterator[Measurement]:
    names = METHODS[::5] if setting.quick else METHODS
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), 1000)
        yield of_methods(material, names, setting)


def of_methods(material: Material, names: tuple[str, ...], setting: Setting) -> Measurement:
    """Each method's run beside one of the student alone with the same seed, as `run` does them."""

    def whole_run(method: str) -> None:
        recipe = (f"recipe.epochs={EPOCHS}", f"recipe.lr={LR}")
        run(material.config(PAIR, f"method={method}", *recipe, "rerun=true"), Quiet())

    for method in ("none", "kd", "lrds"):  # the last two measure the teacher, fill its table, score the training set
        whole_run(method)
    methods, alone = [], []
    for name in names:
        methods.append(timed(partial(whole_run, name), setting.device))
        alone.append(timed(partial(whole_run, "none"), setting.device))
    return Measurement(
        name="one_teacher",
        about=f"{len(names)} runs of logit methods with one teacher over as many of the student alone",
        setting=f"{PAIR[0]} -> {PAIR[1]}, batch {BATCH}, {EPOCHS} epochs of {material.images} images with evaluation",
        unit="x",
        better="lower",
        target=1.05,
        values=[sum(methods) / sum(alone)],
        parts={"methods": methods, "student_only": alone},
        note="table filled and influence scores kept by an earlier run; in the order of " + ", ".join(names),
    )
