"""`plug_in=`: a paper's parts on top of any method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from kd_experiments.cli.choices import choices
from kd_experiments.config import Config, check
from kd_experiments.distillers import DISTILLERS
from kd_experiments.distillers.none import NoDistiller
from kd_experiments.errors import UserError
from kd_experiments.identity import signature
from kd_experiments.networks import Output
from kd_experiments.students.making import make_objective
from kd_experiments.supervision.progress import Progress
from kd_experiments.training.objective import Batch
from tests.conftest import Cli, composed, records, shared_teachers, with_method

PLUG_INS = [name for name in choices()["plug_in"] if name != "none"]
HOSTS = [
    "kd", "dkd", "dist", "at_kd", "crd_kd", "reviewkd_kd", "mlld", "rld", "rc", "standardised_dkd", "sld", "ttm",
    "wttm", "dtkd", "normkd", "normkd_dkd", "sdd_kd", "sdd_dkd", "ldrld",
]  # fmt: skip


def parts(*overrides: str) -> list[Any]:
    content = composed(*overrides)
    return [content[group]["name"] for group in ("revision", "selection", "weighting", "temperature")]


def test_it_wins_over_the_method_and_loses_to_what_is_typed() -> None:
    assert parts("method=dkd", "plug_in=lrds") == ["label_revision", "influence", "constant", "constant"]
    assert parts("plug_in=btkd", "method=lrds") == ["probability_shift", "influence", "right_then_wrong", "constant"]
    assert parts("method=dkd", "plug_in=btkd", "weighting=constant")[2] == "constant"
    assert composed("method=dkd", "plug_in=lrds", "selection.ratio=0.6")["selection"]["ratio"] == 0.6
    assert parts("method=lrds", "plug_in=none") == parts("method=lrds")


def test_its_name_is_not_in_the_signature_but_what_it_sets_is() -> None:
    by_name, by_hand, plain = (
        signature(check(composed(*given)))
        for given in (
            ("method=kd", "plug_in=lrds"),
            ("method=kd", "revision=label_revision", "selection=influence"),
            ("method=kd",),
        )
    )
    assert by_name == by_hand != plain


@pytest.mark.parametrize("plug_in", PLUG_INS)
@pytest.mark.parametrize("host", HOSTS)
def test_every_host_takes_every_plug_in(host: str, plug_in: str) -> None:
    config = check(composed(f"method={host}", f"plug_in={plug_in}"))
    assert config.plug_in == plug_in
    if not DISTILLERS[config.method.distiller].reads_logits():
        assert config.method.kd_weight == 0.9


@pytest.mark.parametrize(
    ("method", "plug_in", "message"),
    [
        ("at", "la", r"method\.kd_weight=0\.9"),
        ("at", "dtd", r"method\.kd_weight=0\.9"),
        ("none", "lrds", "has no teacher"),
        ("cmd_p", "lrds", "two networks teach each other"),
        ("logit_mse", "dtd", "without a temperature"),
    ],
)
def test_what_makes_no_sense_is_refused(method: str, plug_in: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        check(composed(f"method={method}", f"plug_in={plug_in}"))
    assert "\n" not in str(error.value)


def test_it_runs_on_a_feature_method(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=at_kd", "plug_in=btkd", shared_teachers()).code == 0
    (record,) = records(tmp_path)
    assert record["config"]["plug_in"] == "btkd" and record["revision"]["revised"] > 0


@pytest.mark.parametrize("method", [m for m in choices()["method"] if m not in ("lrds", "lr", "logit_mse", "lr_rld")])
def test_z_scores_and_dynamic_temperatures_go_with_every_method_that_has_a_temperature(method: str) -> None:
    base = with_method(method, "recipe.epochs=240")
    config = check(base)
    steady = base | {"temperature": {"name": "constant", "value": 4.0}}  # a dynamic one sees the logits themselves
    scaled = steady | {"method": base["method"] | {"standardise": True}}
    if config.source == "none" or not config.reads_logits:
        with pytest.raises(UserError, match=r"method\.standardise=true"):
            check(scaled)
    else:
        config = check(scaled)
        once, again = (distilled(config, factor) for factor in (1.0, 3.0))
        for name, term in once.items():
            assert torch.allclose(term, again[name], rtol=1e-4), "z-scores do not see a student's range and shift"
    if config.source != "none" and config.uses_temperature:
        warm = check(scaled | {"temperature": composed("temperature=dtd_cwsm")["temperature"]})
        assert all(term.isfinite() for term in distilled(warm, 1.0).values())


def distilled(config: Config, factor: float) -> dict[str, Tensor]:
    """The logit terms of one batch whose student's logits are stretched and shifted."""
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 12, 10, generator=generator, dtype=torch.float64)
    labels = torch.arange(12) % 10
    said = [Output(z, (), (), z) for z in (factor * student + factor, teacher)]
    batch = Batch(torch.arange(12), student, labels, labels, torch.ones(12, dtype=torch.float64))
    objective = make_objective(config).double()
    if DISTILLERS[config.method.distiller].needs != "logits":
        objective.distiller = NoDistiller()
    second = (said[0], said[1]) if objective.distiller.needs_second_view else None
    judged = objective(batch, *said, Progress.at(1, 240, like=student), second=second)
    return {name: term for name, term in judged.terms.items() if name != "label"}
