"""Any part goes with any other: every combination over the registries composes and trains."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from kd_experiments.cli import layers
from kd_experiments.cli.choices import choices, methods, read_method
from kd_experiments.config import check
from kd_experiments.distillers import DISTILLERS
from kd_experiments.errors import UserError
from kd_experiments.networks import Output
from kd_experiments.places import home
from kd_experiments.students.making import make_objective
from kd_experiments.supervision.influence import SplitOutputs
from kd_experiments.supervision.label_loss import LABEL_LOSSES
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import REVISIONS
from kd_experiments.supervision.selection import SELECTIONS, SelectionInputs, Snapshot
from kd_experiments.supervision.temperature import TEMPERATURES
from kd_experiments.supervision.weighting import WEIGHTINGS
from kd_experiments.training.objective import Batch
from tests.conftest import TINY, Cli, composed, records, shared_teachers

GROUPS = ("revision", "selection", "weighting", "temperature")
BASE = composed(*TINY)


def group_content(group: str, choice: str) -> dict[str, Any]:
    """One choice of a group as the command line would compose it."""
    content: dict[str, Any] = layers.choice_values(group, choice, BASE)
    return content


CONTENT = {(group, choice): group_content(group, choice) for group in GROUPS for choice in choices()[group]}
METHODS = {name: layers.method_values(name, "none", BASE)["method"] for name in choices()["method"]}
LOGIT_METHODS = {name: METHODS[name] for name in ("kd", "logit_mse")}


def test_every_registered_part_has_a_file_and_every_file_a_part() -> None:
    registries = {
        "revision": REVISIONS, "selection": SELECTIONS, "weighting": WEIGHTINGS, "temperature": TEMPERATURES,
        "label_loss": LABEL_LOSSES,
    }  # fmt: skip
    for group, registry in registries.items():
        named = {group_content(group, choice)["name"] for choice in choices()[group]}
        assert named == set(registry), group
    used = {layers.distiller_of(choice) for choice in choices()["method"]}
    assert used == set(DISTILLERS)


@pytest.mark.parametrize("name", choices()["method"])
def test_method_files_compose_and_describe_themselves(name: str) -> None:
    config = check(composed(f"method={name}"))
    assert config.method.name == name
    about = read_method(home() / "conf" / "method" / f"{name}.yaml")
    assert about.about.endswith(".") and len(about.about) < 140
    assert about in methods()


def batches() -> list[tuple[Batch, Output, Output]]:
    """Three batches with a teacher that is right, wrong and sometimes wrong."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for wrong in (0.0, 1.0, 0.5):
        labels = torch.randint(0, 10, (12,), generator=generator)
        teacher = torch.randn(12, 10, generator=generator)
        favoured = torch.where(torch.rand(12, generator=generator) < wrong, (labels + 1) % 10, labels)
        teacher[torch.arange(12), favoured] += 9
        student = torch.randn(12, 10, generator=generator).requires_grad_()
        batch = Batch(torch.arange(12), student, labels, labels, torch.ones(12))
        found.append((batch, Output(student, (), (), student), Output(teacher, (), (), teacher)))
    return found


def selection_facts() -> SelectionInputs:
    generator = torch.Generator().manual_seed(1)
    part = SplitOutputs(
        torch.randn(36, 10, generator=generator), torch.randn(36, 4, generator=generator), torch.arange(36) % 10
    )
    return SelectionInputs(part, part, lambda: [Snapshot(part, part, 0.1)])


@pytest.mark.parametrize("distiller", list(LOGIT_METHODS))
@pytest.mark.parametrize("revision", choices()["revision"])
@pytest.mark.parametrize("selection", choices()["selection"])
def test_every_combination_trains_without_nan(distiller: str, revision: str, selection: str) -> None:
    facts = selection_facts()
    for weighting, temperature in itertools.product(choices()["weighting"], choices()["temperature"]):
        given = BASE | {"method": LOGIT_METHODS[distiller]}
        for group, choice in zip(GROUPS, (revision, selection, weighting, temperature), strict=True):
            given[group] = CONTENT[group, choice]
        if temperature != "constant" and distiller == "logit_mse":
            with pytest.raises(UserError, match="compares without a temperature"):
                check(given)
            continue
        config = check(given)
        objective = make_objective(config)
        mask = config.selection.mask(config.selection.scores(facts)).float()
        for place, (batch, student, teacher) in enumerate(batches()):
            chosen = mask[12 * place : 12 * place + 12]
            batch = Batch(batch.index, batch.images, batch.labels, batch.true_labels, chosen)
            judgement = objective(batch, student, teacher, Progress.at(place, 3))
            values = torch.stack([*judgement.terms.values(), *judgement.statistics.values()])
            assert torch.isfinite(values).all(), (weighting, temperature)
            (gradient,) = torch.autograd.grad(judgement.loss, student.logits)
            assert torch.isfinite(gradient).all(), (weighting, temperature)


@pytest.mark.parametrize("name", choices()["method"])
def test_every_method_runs(cli: Cli, tmp_path: Path, name: str) -> None:
    method = METHODS[name]
    small = {"initialisation_epochs": 1, "negatives": 64}  # sized for 200 images and two epochs
    answer = cli(
        f"method={name}", shared_teachers(), *(f"method.{key}={value}" for key, value in small.items() if key in method)
    )
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    assert record["status"] == "complete" and record["metrics"]["test_top1_last"] > 0


@pytest.mark.parametrize("selection", [name for name in choices()["selection"] if name not in ("none", "random")])
def test_a_peer_has_no_scores(selection: str) -> None:
    with pytest.raises(UserError, match="scored by a frozen teacher") as error:
        check(composed("method=cmd_p", f"selection={selection}"))
    assert "\n" not in str(error.value)


def test_random_selection_goes_with_a_peer(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=dml", "selection=random", "selection.ratio=0.5").code == 0
    assert records(tmp_path)[0]["selection"]["selected"] == 100


FEATURE_METHODS = [
    name
    for name, method in METHODS.items()
    if DISTILLERS[method["distiller"]].needs != "logits"
    and not DISTILLERS[method["distiller"]].reads_logits()
    and method["kd_weight"] == 0
]


def test_feature_methods_refuse_what_they_would_ignore() -> None:
    assert len(FEATURE_METHODS) >= 15
    long = composed("recipe.epochs=240")  # longer than any warm-up
    for name in FEATURE_METHODS:
        own = layers.method_values(name, "none", long)
        for group, choice in (("revision", "label_revision"), ("temperature", "dtd_flsw")):
            given = long | own | {group: CONTENT[group, choice]}
            with pytest.raises(UserError, match=r"method\.kd_weight=0\.9"):
                check(given)
            check(given | {"method": own["method"] | {"kd_weight": 0.9}})


@pytest.mark.parametrize("name", ["at", "rkd", "vid"])
def test_a_kd_term_joins_a_feature_method(cli: Cli, tmp_path: Path, name: str) -> None:
    parts = ("method.kd_weight=0.9", "revision=label_revision", "selection=influence", "temperature=dtd_flsw")
    answer = cli(f"method={name}", *parts, shared_teachers())
    assert answer.code == 0, answer.err
    (path,) = (tmp_path / "runs").glob("*/history.csv")
    assert "loss_added_kd" in path.read_text().splitlines()[0]


def test_methods_compose_as_one_expects() -> None:
    def parts(*overrides: str) -> dict[str, Any]:
        return {group: composed(*overrides)[group]["name"] for group in GROUPS}

    assert parts("method=lrds") == {
        "revision": "label_revision", "selection": "influence", "weighting": "right_wrong", "temperature": "constant",
    }  # fmt: skip
    assert parts("method=lrds", "selection=random")["selection"] == "random"
    assert parts("selection=random", "method=lrds")["selection"] == "random"
    assert composed("method=lrds", "selection.ratio=0.5")["selection"]["ratio"] == 0.5
    assert composed("method=la_ps")["temperature"]["value"] == 10
    assert composed("method=la_ps", "method.temperature=3")["temperature"]["value"] == 3
    assert composed("method=la_ps", "temperature.value=5")["temperature"]["value"] == 5
