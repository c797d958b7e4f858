"""A recorded step is the written one; what cannot be recorded runs as it is written."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from kd_experiments.cli.choices import choices
from kd_experiments.distillers.kdsvd import KDSVD
from kd_experiments.errors import UserError
from kd_experiments.teachers.frozen import LiveTeacher, TabulatedTeacher
from kd_experiments.teachers.view_table import MemoryTable, TableKind
from kd_experiments.training.capture import WARM_UP, RecordedStep, recorder
from kd_experiments.training.loop import Training
from tests.distillers.test_every_method_trains import (
    CLASSES,
    PAIRS,
    SAMPLES,
    config_of,
    data_of,
    teacher_of,
    training_of,
)
from tests.training.tape import TapeRecorder

# Below autograd, where the tape listens, one of their convolutions takes another kernel, which rounds otherwise.
ROUNDS = {"reviewkd": 1e-3, "reviewkd_kd": 1e-3}
EPOCHS = 4  # and three of initialisation where there is one: long enough for a recording of its own
# Three steps an epoch, the last one smaller; the learning rate is another in every step.
RECIPE = {"epochs": EPOCHS, "batch_size": 6, "schedule": "cosine", "warmup_epochs": 1, "momentum": 0.9}


def training(method: str, recorder: TapeRecorder | None = None, pair: tuple[str, str] = PAIRS[0]) -> Training:
    config = config_of(method, *pair)
    options = dict(config.distiller_options)
    if "initialisation_epochs" in options:
        options["initialisation_epochs"] = 3
    config = replace(config, recipe=replace(config.recipe, **RECIPE), distiller_options=options)
    made = training_of(config, data_of(8 if method != "ft" else 16), teacher_of(pair[0]))
    made.recorder = recorder
    return made


def figures(training: Training) -> list[dict[str, float]]:
    return [{name: value for name, value in row.items() if "second" not in name} for row in training.history]


def run(training: Training) -> None:
    training.run(dict, lambda row: None)


def assert_same(one: Training, other: Training, tolerance: float = 0.0) -> None:
    for ours, theirs in zip(one.learners, other.learners, strict=True):
        for tensor, again in zip(ours.tensors(), theirs.tensors(), strict=True):
            assert torch.allclose(tensor, again, rtol=tolerance, atol=tolerance)
    for row, again_row in zip(figures(one), figures(other), strict=True):
        assert row == pytest.approx(again_row, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("method", choices()["method"])
def test_every_method_replayed_is_the_method(method: str) -> None:
    written, tape = training(method), TapeRecorder()
    replayed = training(method, tape)
    run(written)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run(replayed)
    assert not [str(warning.message) for warning in told if warning.category is RuntimeWarning]
    distiller = written.learners[0].objective.distiller
    stages = 2 if distiller.initialisation_epochs else 1
    assert tape.recordings == (0 if distiller.waits else stages), "one for all epochs that do the same"
    assert_same(written, replayed, ROUNDS.get(method, 0.0))


def test_what_is_said_to_wait_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KDSVD, "waits", False)
    with pytest.warns(RuntimeWarning, match="cannot be recorded"):
        run(training("kdsvd", TapeRecorder()))


@pytest.mark.parametrize("method", sorted(set(choices()["method"]) - {"kdsvd"}))
def test_every_step_of_a_method_stays_on_its_device(method: str) -> None:
    """On a device without values nothing can be read, and whatever was made on the host by mistake does not fit."""
    made, device = training(method), torch.device("meta")
    made.data = made.data.to(device)
    if made.selected is not None:
        made.selected = made.selected.to(device)
    if made.source is not None:
        source = copy.deepcopy(teacher_of(PAIRS[0][0])).to(device)
        made.source = LiveTeacher(source, made.data)
        made.learners[0].objective.distiller.inspect_networks(made.learners[0].network, source)
    for learner in made.learners:
        learner.network.to(device)
        learner.objective.to(device)
        learner.optimizer = made.recipe.make_optimizer([*learner.network.parameters(), *learner.objective.parameters()])
    images = made.data.in_view(index := torch.arange(6, device=device), index)
    stage = made.learners[0].objective.distiller.initialisation_epochs
    for epoch in (-1, EPOCHS - 1) if stage else (0, EPOCHS - 1):
        for learner in made.learners:
            learner.begin_epoch(epoch)
        values = made.train_step(
            index, index, images, torch.zeros_like(images) if made._twice else None, max(epoch, 0), 0.5, 0.1
        )
        assert values.device == device


def test_answers_from_a_table_are_read_where_the_next_epoch_puts_them() -> None:
    both = [training("lrds"), training("lrds", TapeRecorder())]
    for each in both:
        views = each.data.views
        assert views is not None
        kind = TableKind("teacher", SAMPLES, views.count, "views", CLASSES, "float32")
        table = MemoryTable(kind, each.data.device)
        each.source = TabulatedTeacher(lambda: teacher_of(PAIRS[0][0]), [table], each.data)
        run(each)
    assert_same(*both)


class Toy:
    """A step with a mistake to choose."""

    def __init__(self, mistake: str = "") -> None:
        torch.manual_seed(0)
        self.network = nn.Linear(3, 1)
        self.mistake = mistake
        self.calls = 0
        self.buffer = torch.zeros(1)

    def step(self, rows: Tensor, weight: Tensor) -> Tensor:
        self.calls += 1
        factor = weight * float(self.calls) if self.mistake == "counts on the host" else weight
        if self.mistake == "reads on the host":
            factor = torch.full_like(weight, weight.item())
        if self.mistake == "another tensor":
            self.buffer = self.buffer + 1
        loss = (self.network(rows) * factor).square().mean()
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        with torch.no_grad():
            for parameter in self.network.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.1 * parameter.grad)
        return loss.detach()[None]

    def state(self) -> list[Tensor]:
        return [*(parameter.detach() for parameter in self.network.parameters()), self.buffer]


def steps(count: int) -> list[tuple[Tensor, float]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 3, generator=generator), 1.0 + number) for number in range(count)]


def test_python_runs_no_more_once_a_step_is_recorded() -> None:
    toy, other = Toy(), Toy()
    recorded = RecordedStep(toy.step, TapeRecorder(), toy.state, torch.device("cpu"))
    for rows, weight in steps(10):
        assert torch.equal(recorded(rows, weight), other.step(rows, torch.tensor(weight)))
    # as it is written: to warm up, when recorded, in the recording, and to be compared with
    assert toy.calls == WARM_UP + 3
    assert all(torch.equal(one, two) for one, two in zip(toy.state(), other.state(), strict=True))


@pytest.mark.parametrize(
    ("mistake", "said"),
    [("counts on the host", "does something else when it is replayed"), ("reads on the host", "cannot be recorded")],
)
def test_a_step_that_cannot_be_replayed_runs_as_it_is_written(mistake: str, said: str) -> None:
    toy, other = Toy(mistake), Toy(mistake)
    recorded = RecordedStep(toy.step, TapeRecorder(), toy.state, torch.device("cpu"))
    with pytest.warns(RuntimeWarning, match=said):
        for number, (rows, weight) in enumerate(steps(10)):
            if number == WARM_UP:
                toy.calls -= 1  # recording calls it once more
            assert torch.equal(recorded(rows, weight), other.step(rows, torch.tensor(weight)))


def test_a_part_that_replaces_its_buffer_is_named() -> None:
    toy = Toy("another tensor")
    recorded = RecordedStep(toy.step, TapeRecorder(), toy.state, torch.device("cpu"))
    with pytest.raises(UserError, match="capture=off"):
        for rows, weight in steps(10):
            recorded(rows, weight)


def test_no_graphs_on_a_cpu_and_none_where_they_are_not_wanted() -> None:
    assert recorder(torch.device("cpu"), "auto") is None
    assert recorder(torch.device("cuda"), "off") is None
