"""Every method with every revision: what is taught at each temperature, and that extremes stay finite."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.cli import layers
from kd_experiments.cli.choices import choices
from kd_experiments.config import Config, check
from kd_experiments.distillers.base import Targets
from kd_experiments.distillers.none import NoDistiller
from kd_experiments.distillers.sdd import SDD
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.students.making import make_objective
from kd_experiments.supervision.progress import Progress
from kd_experiments.supervision.revision import TemperatureValue, two_class_average
from kd_experiments.supervision.temperature import Temperatures, standardise
from kd_experiments.training.objective import Batch, Objective
from tests.conftest import composed

pytestmark = pytest.mark.slow  # every method with every revision

REVISIONS = choices()["revision"]
LATE = 160  # of 240 epochs: warm-ups are over, and a student's own prediction has begun to teach


BASE = composed()


@cache
def method(name: str) -> dict[str, Any]:
    return BASE | layers.method_values(name, "none", BASE)


def revision(name: str) -> dict[str, Any]:
    return layers.choice_values("revision", name, BASE)


def config_of(name: str, revised: str) -> Config:
    return check(method(name) | {"revision": revision(revised)})


CONFIGS = {name: check(method(name)) for name in choices()["method"]}
READERS = [name for name, config in CONFIGS.items() if config.source != "none" and config.reads_logits]


class Heads(Network):
    """A classifier of pooled maps that have as many channels as there are classes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(classes, classes, bias=False)
        nn.init.eye_(self.fc.weight)


def said(logits: Tensor, scatter: float = 0.0) -> Output:
    """Logits, and a last map of 4 x 4 places around them."""
    waves = torch.sin(torch.arange(16, dtype=logits.dtype)).view(4, 4)
    return Output(logits, (), (), logits, logits[:, :, None, None] + scatter * (waves - waves.mean()))


class WithoutTerms(NoDistiller):
    """A source is asked, and its features are not compared."""

    needs_source = True


def objective_of(config: Config, classes: int, dtype: torch.dtype) -> Objective:
    objective = make_objective(config)
    objective.distiller.inspect_labels(torch.arange(classes).repeat(10_000), classes)
    if objective.distiller.needs != "logits" and not isinstance(objective.distiller, SDD):
        objective.distiller = WithoutTerms()  # its KD term is left
    heads = Heads(classes).to(dtype)
    objective.distiller.inspect_networks(heads, heads)
    return objective.to(dtype)


def judge(objective: Objective, student: Tensor, teacher: Tensor, labels: Tensor, selected: Tensor) -> Tensor:
    batch = Batch(torch.arange(len(labels)), student, labels, labels, selected)
    outputs = said(student, 0.3), said(teacher, 0.3)
    second = outputs if objective.distiller.needs_second_view else None
    source = outputs[1] if objective.distiller.needs_source else None
    return objective(batch, outputs[0], source, Progress.at(LATE, 240, like=student), second=second).loss


def taught(revised: str, options: dict[str, Any], z: Tensor, labels: Tensor, t: Tensor) -> Tensor:
    """What should be taught of logits (B, C) at temperatures (B, 1), by the definitions, row by row."""
    rows = []
    for row, y, at in zip(z, labels.tolist(), t, strict=True):
        q, onehot = (row / at).softmax(0), F.one_hot(torch.tensor(y), len(row)).to(row.dtype)
        w = int(row.argmax())
        if w == y or revised == "none":
            rows.append(q)
        elif revised == "smoothed_label":
            rows.append(0.9 * onehot + 0.1 / len(row))
        elif revised == "probability_shift":
            swapped = q.clone()
            swapped[y], swapped[w] = q[w], q[y]
            rows.append(swapped)
        elif revised == "label_average":
            rows.append((q + onehot) / 2)
        elif revised == "two_class_average":
            a, b = (q[y] + 1) / 2, q[w] / 2
            averaged = q.clone()
            averaged[y], averaged[w] = (part * (q[y] + q[w]) / (a + b) for part in (a, b))
            rows.append(averaged)
        elif revised == "label_revision":
            p = q if options["temperature"] == "distiller" else row.softmax(0)
            beta = options["eta"] / (p[w] - p[y] + 1)
            revision_at = at if options["temperature"] == "distiller" else torch.ones_like(at)
            rows.append(((beta * p + (1 - beta) * onehot).log() * revision_at / at).softmax(0))
        elif revised == "label_average_logits":
            rows.append(((row + onehot) / 2 / at).softmax(0))
        else:
            assert revised == "two_class_average_logits"
            rows.append((two_class_average(row[None], torch.tensor([y]))[0] / at).softmax(0))
    return torch.stack(rows)


@pytest.mark.parametrize("name", READERS)
def test_every_revision_is_made_at_every_temperature_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    teacher, student = 3 * torch.randn(2, 12, 10, generator=generator, dtype=torch.float64) + 1
    labels = torch.arange(12) % 10
    labels[::3] = teacher.argmax(1)[::3]
    heard: list[tuple[Targets, TemperatureValue | Temperatures, Tensor]] = []
    plainly = Targets.at

    def at(self: Targets, temperature: TemperatureValue | Temperatures) -> Tensor:
        logits = plainly(self, temperature)
        heard.append((self, temperature, logits))
        return logits

    monkeypatch.setattr(Targets, "at", at)
    for revised in REVISIONS:
        options = [revision(revised)]
        if revised == "label_revision":
            options.append(revision(revised) | {"temperature": "distiller"})
        for option in options:
            config = check(method(name) | {"revision": option})
            heard.clear()
            judge(objective_of(config, 10, torch.float64), student, teacher, labels, torch.ones(12).double())
            assert heard
            for targets, temperature, logits in heard:
                t = torch.as_tensor(Temperatures.of(temperature).teacher, dtype=torch.float64).detach()
                t = t.expand(len(logits))[:, None] if t.ndim == 0 else t[:, None]
                z = standardise(targets.raw_logits) if config.method.standardise else targets.raw_logits
                expected = taught(revised, option, z, targets.labels, t)
                torch.testing.assert_close((logits / t).softmax(1).detach(), expected)
                if revised == "smoothed_label":
                    on_label = expected.gather(1, targets.labels[:, None])[targets.wrong]
                    torch.testing.assert_close(on_label, torch.full_like(on_label, 0.91))


@pytest.mark.parametrize("name", ["kd", "dkd", "la_lsr", "btkd", "sdd_kd", "ldrld"])
@pytest.mark.parametrize("revised", ["smoothed_label", "two_class_average", "label_average"])
def test_a_student_that_says_what_is_taught_has_nothing_to_learn(name: str, revised: str) -> None:
    """At T log of the taught probabilities: so the loss compares at the temperature at which it was revised."""
    config = config_of(name, revised)
    t = torch.full((6, 1), config.temperature(torch.zeros(1, 2), torch.zeros(1, 2)), dtype=torch.float64)
    teacher = 3 * torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(6)
    objective = objective_of(config, 10, torch.float64)
    objective.label_weight = 0.0
    student = t * taught(revised, {}, teacher, labels, t).log()
    batch = Batch(torch.arange(6), student, labels, labels, torch.ones(6).double())
    loss = objective(batch, said(student), said(teacher), Progress.at(LATE, 240, like=student)).loss
    assert abs(loss.item()) < 1e-9


def extremes(classes: int) -> dict[str, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Student, teacher, labels, selected."""
    generator = torch.Generator().manual_seed(classes)
    student, teacher = torch.randn(2, 8, classes, generator=generator)
    labels, everyone = torch.randint(0, classes, (8,), generator=generator), torch.ones(8)
    sure = 1e4 * F.one_hot((labels + 1) % classes, classes).float()
    return {
        "large": (1e4 * student / student.abs().max(), 1e4 * teacher / teacher.abs().max(), labels, everyone),
        "large below": (-1e4 * student.abs(), -1e4 * teacher.abs(), labels, everyone),
        "a sure teacher": (student, 1e4 * F.one_hot(labels, classes).float(), labels, everyone),
        "sure and all wrong": (student, sure, labels, everyone),
        "both sure, of the other": (sure, 1e4 * F.one_hot(labels, classes).float(), labels, everyone),
        "nobody selected": (1e4 * student, 1e4 * teacher, labels, torch.zeros(8)),
        "constant": (torch.zeros(8, classes), torch.full((8, classes), 7.0), labels, everyone),
    }


@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("name", CONFIGS)
def test_extremes_stay_finite(name: str, classes: int) -> None:
    for revised in REVISIONS if name in READERS else ["none"]:
        config = config_of(name, revised)
        try:
            objective = objective_of(config, classes, torch.float32)
        except UserError as refused:
            assert classes == 2 and name in REFUSES_TWO and "\n" not in str(refused)
            return
        assert classes > 2 or name not in REFUSES_TWO
        for what, (student, teacher, labels, selected) in extremes(classes).items():
            student = student.clone().requires_grad_()
            loss = judge(objective, student, teacher, labels, selected)
            (gradient,) = torch.autograd.grad(loss, student)
            assert loss.isfinite() and gradient.isfinite().all(), (revised, what)


# with two classes nothing is left beside the label, or beside the likeliest ones
REFUSES_TWO = {"dkd", "standardised_dkd", "normkd_dkd", "sdd_dkd", "ldrld"}
