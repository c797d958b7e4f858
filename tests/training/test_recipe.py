"""Learning-rate schedules."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from kd_experiments.errors import UserError
from kd_experiments.networks import build
from kd_experiments.training.average import Average
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
        part.make_optimizer([ours]),
        torch.optim.SGD([theirs], lr=0.1, momentum=0.9, nesterov=nesterov, weight_decay=5e-4, foreach=False),
    ]
    for _ in range(5):
        gradient = torch.randn(4, 3, generator=generator)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("steps", [50, 7])
def test_one_cycle_agrees_with_torch(steps: int) -> None:
    part = recipe(schedule="one_cycle", epochs=steps, warmup_epochs=2.0)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=steps, cycle_momentum=False)
    for step in range(steps):
        assert part.lr_at(step, 0, 1) == pytest.approx(theirs.get_last_lr()[0])
        optimizer.step()
        if step + 1 < steps:
            theirs.step()
    assert recipe(schedule="one_cycle", epochs=1).lr_at(0, 0, 1) > 0


OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "nadam": torch.optim.NAdam,
    "adagrad": torch.optim.Adagrad,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_optimizers_of_torch_by_name(name: str, as_tensor: bool) -> None:
    """With the learning rate as a number, and as the tensor that a recorded step reads."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 3, generator=generator)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    part = recipe(optimizer=name, lr=0.01, weight_decay=1e-3)
    optimizer, reference = part.make_optimizer([ours]), OPTIMIZERS[name]([theirs], lr=0.01, weight_decay=1e-3)
    for _ in range(5):
        gradient = torch.randn(4, 3, generator=generator)
        for parameter in (ours, theirs):
            parameter.grad = gradient.clone()
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(0.01) if as_tensor else 0.01
        optimizer.step()
        reference.step()
    assert not torch.equal(ours, start)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("name", "words"),
    [("adm", "did you mean adam"), ("AdamW", "did you mean adamw"), ("lbfgs", "no such choice"), ("Optimizer", "no")],
)
def test_what_is_no_optimizer_of_steps_is_refused(name: str, words: str) -> None:
    with pytest.raises(UserError, match=f"recipe.optimizer={name}: .*{words}"):
        recipe(optimizer=name)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="needs an optimiser that is not for all parameters")
def test_what_an_optimizer_refuses_is_told() -> None:
    with pytest.raises(UserError, match=r"recipe\.optimizer=muon: .*2D"):
        recipe(optimizer="muon").make_optimizer([torch.nn.Parameter(torch.zeros(1))])


def test_the_average_follows_the_network() -> None:
    torch.manual_seed(0)
    network = build("resnet8", classes=3, channels=1, size=8)
    average = Average(network, decay=0.5)
    expected = {key: value.clone() for key, value in network.state_dict().items()}
    for step in range(1, 9):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(1)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                expected[key] = decay * expected[key] + (1 - decay) * value
            else:
                expected[key] = value.clone()
    assert decay == 0.5, "and the first steps had less"
    torch.testing.assert_close(average.network.state_dict(), expected)
