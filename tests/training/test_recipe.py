"""Learning-rate schedules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kd_experiments.training.recipe import Recipe


def recipe(**changes: Any) -> Recipe:
    base: dict[str, Any] = {
        "name": "test", "epochs": 10, "batch_size": 32, "lr": 0.1, "momentum": 0.9, "nesterov": False,
        "weight_decay": 0.0, "schedule": "constant", "milestones": (), "gamma": 0.1, "warmup_epochs": 0.0,
        "evaluate_every": 1,
    }  # fmt: skip
    return Recipe(**(base | changes))


def test_step_schedule_falls_after_its_milestones() -> None:
    part = recipe(schedule="step", milestones=(3, 6))
    assert [round(part.lr_at(e, 0, 10), 6) for e in range(8)] == [0.1] * 3 + [0.01] * 3 + [0.001] * 2


def test_cosine_schedule_agrees_with_torch() -> None:
    part = recipe(schedule="cosine")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 50)
    for step in range(50):
        assert part.lr_at(step // 5, step % 5, 5) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()


def test_warmup_rises_to_the_learning_rate() -> None:
    part = recipe(warmup_epochs=2.0)
    rates = [part.lr_at(e, s, 4) for e in range(3) for s in range(4)]
    assert rates[:8] == pytest.approx([0.1 * (i + 1) / 8 for i in range(8)]) and rates[8:] == [0.1] * 4


def test_the_last_epoch_is_always_evaluated() -> None:
    assert [e for e in range(10) if recipe(evaluate_every=4).evaluates(e)] == [3, 7, 9]


@pytest.mark.parametrize("nesterov", [True, False])
def test_optimizer_is_plain_sgd(nesterov: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    part = recipe(nesterov=nesterov, weight_decay=5e-4)
    optimizers = [
        part.optimizer([ours]),
        torch.optim.SGD([theirs], lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=5e-4, foreach=False),
    ]
    for _ in range(5):
        gradient = torch.randn(4, 3, generator=generator)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)
