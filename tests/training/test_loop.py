"""The loop around the steps: which mode the networks are in, and when."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kd_experiments.networks import Network
from kd_experiments.training.evaluation import outputs
from kd_experiments.training.loop import Training
from tests.distillers.test_every_method_trains import PAIRS, config_of, data_of, teacher_of, training_of


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


def test_statistics_rest_while_a_part_is_initialised() -> None:
    made = training("ab")  # one epoch of initialisation, one of distillation
    learner = made.learners[0]
    before = statistics(learner.network)
    made.train_epoch(0)
    assert learner.initialising
    assert all(torch.equal(one, other) for one, other in zip(before, statistics(learner.network), strict=True))
    made.train_epoch(1)
    assert not learner.initialising
    assert not any(torch.equal(one, other) for one, other in zip(before, statistics(learner.network), strict=True))
