"""The loop around the steps: which mode the networks are in, and when."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kd_experiments.networks import Network
from kd_experiments.training.average import Average
from kd_experiments.training.evaluation import outputs
from kd_experiments.training.loop import Learner, Training
from tests.distillers.test_every_method_trains import PAIRS, config_of, data_of, teacher_of, training_of
from tests.training.test_recipe import recipe


def training(method: str) -> Training:
    return training_of(config_of(method, *PAIRS[0]), data_of(8), teacher_of(PAIRS[0][0]))


def statistics(network: Network) -> list[Tensor]:
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    return [norm.running_mean.clone() for norm in norms if norm.running_mean is not None]


@pytest.mark.parametrize("method", ["kd", "cmd_p"])
def test_a_network_learns_in_train_mode_after_it_was_evaluated(method: str) -> None:
    made = training(method)
    seen = []

    def evaluate() -> dict[str, float]:
        for learner in made.learners:
            outputs(learner.network, made.data, made.data.val)
            learner.network.eval()  # an evaluation that forgets to restore it must not matter either
            seen.append(statistics(learner.network))
        return {}

    made.run(evaluate, lambda row: None)
    for place in range(len(made.learners)):
        first, second = seen[place], seen[len(made.learners) + place]
        assert all(not torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_evaluation_moves_no_statistics_and_restores_the_mode() -> None:
    made = training("none")
    network = made.learners[0].network
    for mode in (True, False):
        network.train(mode)
        before = statistics(network)
        outputs(network, made.data, made.data.test)
        assert all(module.training is mode for module in network.modules())
        assert all(torch.equal(one, other) for one, other in zip(before, statistics(network), strict=True))


@pytest.mark.parametrize(("method", "moves"), [("ab", True), ("fsp", True), ("ft", False)])
def test_statistics_move_in_an_initialisation_that_trains_the_student(method: str, moves: bool) -> None:
    made = training(method)
    learner = made.learners[0]
    before = statistics(learner.network)
    made.train_epoch(-1)
    assert learner.initialising
    after = statistics(learner.network)
    assert all(torch.equal(one, other) != moves for one, other in zip(before, after, strict=True))
    made.train_epoch(0)
    assert not learner.initialising
    assert not any(torch.equal(one, other) for one, other in zip(after, statistics(learner.network), strict=True))


def test_the_optimiser_forgets_the_initialisation() -> None:
    made = training("ab")
    learner = made.learners[0]
    made.train_epoch(-1)
    slots = [slot for slots in learner.optimizer.state.values() for slot in slots.values()]
    assert any(slot.any() for slot in slots)
    learner.begin_epoch(0)
    assert not any(slot.any() for slot in slots)
    made.train_epoch(0)
    held = [slot.clone() for slot in slots]
    learner.begin_epoch(1)
    assert all(torch.equal(slot, before) for slot, before in zip(slots, held, strict=True)), "once"


OPTIMIZERS = sorted(
    name.lower()
    for name, kind in vars(torch.optim).items()
    if isinstance(kind, type) and name not in ("Optimizer", "LBFGS", "SparseAdam", "Muon")
)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimiser_that_forgot_is_a_fresh_one(name: str) -> None:
    """And an average begins anew: what follows an initialisation is what follows none."""
    steps = iter(torch.randn(20, 2, 3, generator=torch.Generator().manual_seed(0)))

    def learner(weights: dict[str, Tensor]) -> Learner:
        network: Any = nn.Linear(3, 2, bias=False)  # all that an optimiser and an average ask of one
        objective: Any = nn.Identity()
        network.load_state_dict(weights)
        asked = recipe(optimizer=name, lr=0.5, weight_decay=0.01)
        optimizer = asked.make_optimizer(network.parameters())
        return Learner("", network, objective, optimizer, average=Average(network, 0.9))

    first = learner({"weight": torch.ones(2, 3)})
    for _ in range(4):
        first.network.weight.grad = next(steps)
        first.update(0.5)
    first.forget(0.1)
    second = learner(first.network.state_dict())
    for _ in range(3):
        gradient = next(steps)
        for each in (first, second):
            each.network.weight.grad = gradient.clone()
            each.update(0.1)
    for one, other in zip(first.tensors(), second.tensors(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("resumed_after", [1, 2])
def test_a_run_resumed_around_the_end_of_the_initialisation_is_the_same(resumed_after: int) -> None:
    whole, part, again = training("ab"), training("ab"), training("ab")
    whole.run(dict, lambda row: None)
    for epoch in range(-1, resumed_after - 1):
        part.history.append({"epoch": float(epoch), **part.train_epoch(epoch)})
    again.restore(copy.deepcopy(part.state()))
    again.run(dict, lambda row: None)
    for one, other in zip(whole.learners[0].tensors(), again.learners[0].tensors(), strict=True):
        assert torch.equal(one, other)
