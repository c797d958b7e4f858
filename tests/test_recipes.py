"""Recipes and per-pair values: what the files say, what follows the networks, and what wins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from kd_experiments.cli.choices import choices
from kd_experiments.cli.resolvers import first_match
from kd_experiments.config import check
from kd_experiments.schema import build
from kd_experiments.training.recipe import Recipe
from tests.conftest import Cli, composed, records

COUNTED_IN_EPOCHS = {
    "cifar_240": (240, 64, 0.05, False, 5e-4, (150, 180, 210), 0.1, 0),
    "cifar_200": (200, 128, 0.1, True, 5e-4, (60, 120, 160), 0.2, 1),
    "tiny_200": (200, 256, 0.2, False, 5e-4, (60, 120, 160), 0.1, 0),
    "imagenet_100": (100, 512, 0.2, False, 1e-4, (30, 60, 90), 0.1, 0),
}


def recipe(*overrides: str) -> Recipe:
    return check(composed(*overrides)).recipe


@pytest.mark.parametrize("name", COUNTED_IN_EPOCHS)
def test_published_recipes(name: str) -> None:
    part = recipe(f"recipe={name}")
    epochs, batch, lr, nesterov, decay, milestones, gamma, warmup = COUNTED_IN_EPOCHS[name]
    assert (part.name, part.epochs, part.batch_size, part.lr) == (name, epochs, batch, lr)
    assert (part.momentum, part.nesterov, part.weight_decay) == (0.9, nesterov, decay)
    assert (part.schedule, part.milestones, part.gamma) == ("step", milestones, gamma)
    assert (part.warmup_epochs, part.iterations) == (warmup, None)


@pytest.mark.parametrize("name", choices()["recipe"])
def test_every_recipe_has_every_knob(name: str) -> None:
    """Of the student and of the teacher alike, so that any of them can be overridden."""
    both = composed(f"recipe={name}", f"recipe@teacher.recipe={name}")
    assert both["recipe"].keys() == both["teacher"]["recipe"].keys() == composed("recipe=small_20")["recipe"].keys()
    build(Recipe, both["recipe"], "recipe")


def test_milestones_fall_where_the_paper_says() -> None:
    part = recipe("recipe=cifar_240")
    changes = {149: 0.05, 150: 0.005, 179: 0.005, 180: 5e-4, 209: 5e-4, 210: 5e-5, 239: 5e-5}
    for epoch, lr in changes.items():
        assert part.lr_at(epoch, 0, 704) == part.lr_at(epoch, 703, 704) == pytest.approx(lr)


def test_cifar_200_warms_up_for_one_epoch() -> None:
    part = recipe("recipe=cifar_200")
    assert part.lr_at(0, 0, 352) == pytest.approx(0.1 / 352)
    assert part.lr_at(0, 351, 352) == part.lr_at(1, 0, 352) == part.lr_at(59, 351, 352) == pytest.approx(0.1)
    assert part.lr_at(60, 0, 352) == pytest.approx(0.02)


# Iterations


@pytest.mark.parametrize("samples", [45000, 50000])
def test_thirty_thousand_iterations_are_exactly_that(samples: int) -> None:
    part = recipe("recipe=noise_30k").for_samples(samples)
    steps = part.steps_per_epoch(samples)
    per_epoch = [part.steps_of(epoch, steps) for epoch in range(part.epochs)]
    assert sum(per_epoch) == part.steps(steps) == 30000
    assert set(per_epoch[:-1]) == {steps} and 0 < per_epoch[-1] < steps
    rates = [part.lr_at(epoch, step, steps) for epoch in range(part.epochs) for step in range(per_epoch[epoch])]
    for iteration, lr in {0: 0.1, 14999: 0.1, 15000: 0.01, 21999: 0.01, 22000: 0.001, 29999: 0.001}.items():
        assert rates[iteration] == pytest.approx(lr)


def test_fewer_epochs_end_a_training_counted_in_iterations() -> None:
    part = recipe("recipe=noise_30k", "recipe.epochs=2").for_samples(1000)
    assert part.epochs == 2 and part.steps(part.steps_per_epoch(1000)) == 8


def test_more_iterations_than_the_epochs_hold_change_nothing() -> None:
    part = recipe("recipe.epochs=3", "recipe.iterations=1000").for_samples(100)
    assert part.epochs == 3 and [part.steps_of(epoch, 2) for epoch in range(3)] == [2, 2, 2]


def test_a_recipe_counted_in_epochs_is_the_same_for_any_size() -> None:
    part = recipe()
    assert part.for_samples(12345) is part
    assert [part.steps_of(epoch, 7) for epoch in range(part.epochs)] == [7] * part.epochs


def test_cosine_over_iterations_ends_at_the_last_one() -> None:
    part = recipe("recipe.iterations=25", "recipe.warmup_epochs=0").for_samples(640)
    assert part.epochs == 3
    assert part.lr_at(2, 5, 10) == pytest.approx(0, abs=1e-12) and part.lr_at(1, 2, 10) > part.lr_at(1, 3, 10) > 0


def test_a_run_stops_after_its_iterations(cli: Cli, tmp_path: Path) -> None:
    """Ten steps of 64: four in each epoch of 200 images, two in the last; the teacher has its own."""
    length = ("recipe=noise_30k", "recipe.iterations=10", "recipe.epochs=99", "recipe.batch_size=64", "snapshots=2")
    answer = cli(*length, "recipe.milestones=[5]", "method=kd", "teacher.recipe.iterations=5")
    assert answer.code == 0 and "epoch 3/3" in answer.out, answer.err
    (record,) = records(tmp_path)
    folder = tmp_path / "runs" / record["signature"]
    kept = torch.load(folder / "student.pt", weights_only=True)["model"]
    assert kept["bn1.num_batches_tracked"] == 10
    assert [path.name for path in sorted(folder.glob("snapshot-*"))] == ["snapshot-0001.pt", "snapshot-0002.pt"]
    history = (folder / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 3 and record["metrics"]["test_top1_last"] > 0
    (teacher,) = (tmp_path / "teachers").glob("*/teacher.pt")
    assert torch.load(teacher, weights_only=True)["model"]["bn1.num_batches_tracked"] == 5


def test_iterations_are_a_whole_number_or_null(cli: Cli) -> None:
    for wrong in ("0", "many", "1.5"):
        answer = cli(f"recipe.iterations={wrong}")
        assert answer.code == 2 and f"recipe.iterations={wrong}: " in answer.err and answer.err.count("\n") == 1


# The learning rate follows the network


@pytest.mark.parametrize(
    ("network", "lr"),
    [("MobileNetV2", 0.01), ("ShuffleV1", 0.01), ("ShuffleV2", 0.01), ("resnet20", 0.05), ("vgg8", 0.05)],
)
def test_the_learning_rate_follows_the_trained_network(network: str, lr: float) -> None:
    given = composed(
        "recipe=cifar_240", "recipe@teacher.recipe=cifar_240", f"student={network}", "teacher=wrn_40_2", "method=kd"
    )
    assert given["recipe"]["lr"] == lr and given["teacher"]["recipe"]["lr"] == 0.05
    given = composed("recipe=cifar_240", "recipe@teacher.recipe=cifar_240", f"teacher={network}", "student=wrn_16_2")
    assert given["teacher"]["recipe"]["lr"] == lr and given["recipe"]["lr"] == 0.05


def test_the_choice_of_groups_and_of_keys_are_followed_alike() -> None:
    assert composed("recipe=cifar_240", "student.network=ShuffleV1")["recipe"]["lr"] == 0.01
    assert composed("recipe@teacher.recipe=cifar_240", "teacher.network=ShuffleV1")["teacher"]["recipe"]["lr"] == 0.01


def test_a_given_learning_rate_wins() -> None:
    given = composed(
        "recipe=cifar_240", "recipe@teacher.recipe=cifar_240", "student=MobileNetV2", "recipe.lr=0.2",
        "teacher.recipe.lr=0.3",
    )  # fmt: skip
    assert given["recipe"]["lr"] == 0.2 and given["teacher"]["recipe"]["lr"] == 0.3


def test_the_number_is_in_the_record(cli: Cli, tmp_path: Path) -> None:
    answer = cli("method=none", "recipe=cifar_240", "student=ShuffleV2", "dataset.train_size=20", "recipe.epochs=1")
    assert answer.code == 0, answer.err
    (record,) = records(tmp_path)
    assert record["config"]["recipe"]["lr"] == 0.01
    kept = OmegaConf.load(tmp_path / "runs" / record["signature"] / "config.yaml")
    assert kept.recipe.lr == 0.01


# Per-pair values

DKD_BETA = {
    ("resnet56", "resnet20"): 2, ("resnet110", "resnet32"): 2, ("wrn_40_2", "wrn_16_2"): 6, ("wrn_40_2", "wrn_40_1"): 6,
    ("vgg13", "vgg8"): 6, ("vgg13", "MobileNetV2"): 6, ("resnet110", "resnet20"): 8, ("resnet32x4", "resnet8x4"): 8,
    ("ResNet50", "MobileNetV2"): 8, ("ResNet50", "vgg8"): 8, ("resnet32x4", "ShuffleV1"): 8,
    ("resnet32x4", "ShuffleV2"): 8, ("wrn_40_2", "ShuffleV1"): 8, ("ResNet50", "ResNet18"): 8,
    ("tv_resnet34", "tv_resnet18"): 0.5, ("tv_resnet50", "MobileNetV1"): 2,
}  # fmt: skip
REVIEW_WEIGHT = {
    ("wrn_40_2", "wrn_16_2"): 5, ("wrn_40_2", "wrn_40_1"): 5, ("resnet56", "resnet20"): 0.6,
    ("resnet110", "resnet20"): 0.6, ("resnet110", "resnet32"): 1, ("resnet32x4", "resnet8x4"): 5,
    ("resnet32x4", "ShuffleV1"): 5, ("wrn_40_2", "ShuffleV1"): 5, ("resnet32x4", "ShuffleV2"): 8, ("vgg13", "vgg8"): 5,
    ("tv_resnet34", "tv_resnet18"): 1, ("tv_resnet50", "MobileNetV1"): 8,
}  # fmt: skip


def method(name: str, teacher: str, student: str, *overrides: str) -> dict[str, Any]:
    found: dict[str, Any] = composed(f"method={name}", f"teacher={teacher}", f"student={student}", *overrides)["method"]
    return found


@pytest.mark.parametrize("pair", DKD_BETA, ids="-".join)
def test_beta_of_dkd_goes_by_the_pair(pair: tuple[str, str]) -> None:
    assert method("dkd", *pair)["beta"] == DKD_BETA[pair]
    assert method("standardised_dkd", *pair)["beta"] == 9 * DKD_BETA[pair]


@pytest.mark.parametrize("pair", REVIEW_WEIGHT, ids="-".join)
def test_weight_of_reviewkd_goes_by_the_student(pair: tuple[str, str]) -> None:
    assert method("reviewkd", *pair)["weight"] == REVIEW_WEIGHT[pair]


def test_warm_up_and_temperature_on_imagenet() -> None:
    small, large = method("dkd", "vgg13", "vgg8"), method("dkd", "tv_resnet34", "tv_resnet18")
    assert (small["warm_up_epochs"], small["temperature"]) == (20, 4)
    assert (large["warm_up_epochs"], large["temperature"]) == (1, 1)
    assert method("reviewkd", "tv_resnet50", "MobileNetV1")["warm_up_epochs"] == 1


def test_a_given_value_wins_over_the_pair() -> None:
    assert method("dkd", "resnet56", "resnet20", "method.beta=3")["beta"] == 3
    assert method("reviewkd", "resnet56", "resnet20", "method.weight=3")["weight"] == 3


def test_the_peer_is_the_teacher_of_mutual_learning() -> None:
    given = method("dkd", "vgg13", "resnet20", "method.source=peer", "peer=resnet56")
    assert given["beta"] == 2


def test_resolved_values_are_shown_and_recorded(cli: Cli, tmp_path: Path) -> None:
    pair = ("method=dkd", "student=resnet20", "teacher=resnet56")
    shown = cli("--cfg", "job", "--resolve", *pair).out
    assert OmegaConf.create(shown).method.beta == 2
    assert cli(*pair, "dataset.train_size=20", "recipe.epochs=1", "teacher.recipe.epochs=1").code == 0
    (record,) = records(tmp_path)
    assert record["config"]["method"]["beta"] == 2


def test_tables_are_read_from_the_top() -> None:
    table = ("a -> *", 1, "* -> b", 2, 3)
    assert [first_match(table, text) for text in ("a -> b", "c -> b", "c -> d")] == [1, 2, 3]
    with pytest.raises(ValueError, match="value for all others"):
        first_match(table[:-1], "a -> b")
