"""The commands that tables print make the very runs they name."""

from __future__ import annotations

import shlex

import pytest

from kd_experiments.config import check
from kd_experiments.reporting.commands import command
from tests.conftest import composed


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("method=lrds", "selection.ratio=0.6", "revision.eta=0.5"),
        ("method=dkd", "revision=label_revision", "selection=influence_reversed", "recipe.epochs=40"),
        ("method=la_ps", "method.temperature=3", "dataset=fashion_mnist", "dataset.train_size=500"),
        ("method=kd", "temperature=dtd_flsw", "teacher=resnet32", "teacher.recipe.epochs=3", "teacher.seed=2"),
        ("method=cmd_p", "peer=wrn_16_1", "label_noise=symmetric", "label_noise.rate=0.2", "weighting.eta=null"),
        ("method=none", "label_loss=label_smoothing", "student=vgg8", "teacher=resnet56"),
        ("+sweeps=small/fashion_methods", "method=btkd"),
        ("method=dkd", "plug_in=lrds", "selection.ratio=0.7"),
    ],
    ids=" ".join,
)
def test_the_command_makes_the_same_run(overrides: tuple[str, ...]) -> None:
    config = composed(*overrides)
    typed = shlex.split(command(config))
    assert typed[:3] == ["python", "-m", "kd_experiments"]
    assert check(composed(*typed[3:])).signature() == check(config).signature()


def test_another_method_in_the_same_setting() -> None:
    config = composed("method=lrds", "selection.ratio=0.6", "recipe.epochs=7", "teacher=resnet32")
    kd = composed(*shlex.split(command(config, method="kd"))[3:])
    assert check(kd).signature() == check(composed("method=kd", "recipe.epochs=7", "teacher=resnet32")).signature()


def test_a_default_run_needs_no_words() -> None:
    assert command(composed()) == "python -m kd_experiments method=kd"
