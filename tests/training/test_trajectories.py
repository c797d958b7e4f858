"""Eight steps of a method, loss and every weight, against the same steps written out plainly, in float64.

A loss alone shows neither the weights of its terms nor what is optimised, weight decay, warm-up and modes.
"""

from __future__ import annotations

import copy
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.config import check
from kd_experiments.networks import Network, Output, build
from kd_experiments.students.making import make_learners
from kd_experiments.training.loop import Training
from kd_experiments.training.objective import Batch
from tests.conftest import composed
from tests.distillers.test_every_method_trains import data_of

CLASSES, SAMPLES, BATCH, EPOCHS = 4, 16, 4, 2
LR, MOMENTUM, DECAY = 0.02, 0.9, 5e-4
RECIPE = {
    "epochs": EPOCHS, "batch_size": BATCH, "lr": LR, "momentum": MOMENTUM, "weight_decay": DECAY, "nesterov": True,
    "schedule": "constant", "warmup_epochs": 0,
}  # fmt: skip
SMALL = {"initialisation_epochs": 1, "k": 2}


def formula(network: nn.Module) -> None:
    """Weights that are a matter of their names and places alone."""
    for name, tensor in network.state_dict().items():
        if not tensor.is_floating_point():
            continue
        wave = torch.sin(0.7 * torch.arange(tensor.numel()) + zlib.crc32(name.encode()) % 100).view(tensor.shape)
        if tensor.ndim > 1:
            size = 0.5 if tensor.ndim > 2 else 0.2  # no softmax shall saturate
            tensor.copy_(size * wave * math.sqrt(2 / tensor[0].numel()))
        else:
            tensor.copy_(0.1 * wave + (1 if name.endswith(("weight", "running_var")) else 0))


IMAGES = torch.sin(0.37 * torch.arange(SAMPLES * 3 * 64, dtype=torch.float64).square()).view(SAMPLES, 3, 8, 8)
LABELS = torch.arange(SAMPLES) % CLASSES


class Teacher:
    """A frozen source, in float64 to the end."""

    def __init__(self, network: Network) -> None:
        self.network = network.eval()

    def begin_epoch(self, views: Tensor | None, initialising: bool) -> None:
        pass

    def forward(self, batch: Batch) -> Output:
        with torch.no_grad():
            return self.network(batch.images)

    def forward_images(self, images: Tensor) -> Output:
        raise NotImplementedError


def real(method: str) -> tuple[Training, Network]:
    """The method as its file has it, on a small pair."""
    content = composed(f"method={method}")
    small = {key: value for key, value in SMALL.items() if key in content["method"]}
    networks = {"student": {"network": "resnet8", "checkpoint": None}, "teacher": content["teacher"]}
    if "lambda1" in content["weighting"]:
        content["weighting"]["lambda1"] = None  # for the number of classes here, not that of the data named
    config = check(
        content | {"method": content["method"] | small, "recipe": content["recipe"] | RECIPE} | networks
        | {"selection": {"name": "none"}}
    )  # fmt: skip
    source = build("resnet14", classes=CLASSES, channels=3, size=8).eval()
    (learner,) = make_learners(config, data_of(8), lambda: source)
    for module in (learner.network, learner.objective, source):
        formula(module.double())
    learner.optimizer = config.recipe.make_optimizer([*learner.network.parameters(), *learner.objective.parameters()])
    everyone = torch.ones(SAMPLES, dtype=torch.float64)
    training = Training([learner], data_of(8), config.recipe, 0, Teacher(source), everyone)
    return training, source


@dataclass
class Plain:
    """A step written out: what it sees, and the parts it may use."""

    student: Network
    teacher: Network
    parts: nn.Module  # learned with the student: a copy of the distiller's
    images: Tensor = field(default_factory=lambda: IMAGES)
    labels: Tensor = field(default_factory=lambda: LABELS)
    epoch: int = 0

    def outputs(self) -> tuple[Output, Output, Tensor]:
        with torch.no_grad():
            teacher = self.teacher(self.images)
        return self.student(self.images), teacher, self.labels


def kl(teacher: Tensor, student: Tensor) -> Tensor:
    """KL of two softmaxes, row by row."""
    return F.kl_div(student.log_softmax(1), teacher.softmax(1), reduction="none").sum(1)


def kd(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    return 0.1 * F.cross_entropy(s.logits, y) + 0.9 * 16 * kl(t.logits / 4, s.logits / 4).mean()


def dkd_loss(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    """T = 4, alpha 1, beta 8, row by row, from probabilities."""
    label = F.one_hot(y, CLASSES).bool()
    ps, pt = ((z / 4).softmax(1) for z in (s, t))
    (a, b), (c, d) = ((q[label], 1 - q[label]) for q in (pt, ps))
    target = a * (a / c).log() + b * (b / d).log()
    rest = kl(t[~label].view(-1, CLASSES - 1) / 4, s[~label].view(-1, CLASSES - 1) / 4)
    return 16 * (target + 8 * rest)


def dkd(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    return F.cross_entropy(s.logits, y) + (p.epoch + 1) / 20 * dkd_loss(s.logits, t.logits, y).mean()


def lr(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    wrong = t.logits.argmax(1) != y
    q, onehot = t.logits.softmax(1), F.one_hot(y, CLASSES)
    beta = 0.8 / (q.amax(1) - q[onehot.bool()] + 1)
    revised = beta[:, None] * q + (1 - beta[:, None]) * onehot
    loss = F.cross_entropy(s.logits, y)
    if (~wrong).any():
        loss = loss + 4 * CLASSES / 100 * F.mse_loss(s.logits[~wrong], t.logits[~wrong])
    if wrong.any():
        loss = loss + F.mse_loss(s.logits[wrong].softmax(1), revised[wrong])
    return loss


def btkd(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    said, predicted = t.logits.clone(), t.logits.argmax(1)
    for row in range(BATCH):
        said[row, y[row]], said[row, predicted[row]] = t.logits[row, predicted[row]], t.logits[row, y[row]]
    each, right = 16 * kl(said / 4, s.logits / 4), predicted == y
    b = math.cos(math.pi / 2 * p.epoch / EPOCHS) ** 2
    easy, hard = (each[rows].sum() / max(int(rows.sum()), 1) for rows in (right, ~right))
    return 0.5 * F.cross_entropy(s.logits, y) + 0.5 * (b * easy + (1 - b) * hard)


def wttm(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    power = t.logits.softmax(1) ** (1 / 5)
    u = power.sum(1)
    each = F.kl_div(s.logits.log_softmax(1), power / u[:, None], reduction="none").sum(1)
    return F.cross_entropy(s.logits, y) + 4 * (u * each).mean()


def dtkd(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    u, v = (z.max(1, keepdim=True).values.clamp_min(0.01) for z in (t.logits, s.logits))
    tt, ts = 8 * u / (u + v), 8 * v / (u + v)
    dynamic = ((tt * ts)[:, 0] * kl(t.logits / tt, s.logits / ts)).mean()
    plain = 16 * kl(t.logits / 4, s.logits / 4).mean()
    return F.cross_entropy(s.logits, y) + (p.epoch + 1) / 20 * (3 * dynamic + plain)


def normkd(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    tt, ts = (2 * z.std(1, keepdim=True) for z in (t.logits, s.logits))
    return 0.1 * F.cross_entropy(s.logits, y) + 0.9 * (tt[:, 0] ** 2 * kl(t.logits / tt, s.logits / ts)).mean()


def sdd_kd(p: Plain) -> Tensor:
    """The last maps are 2 x 2: a region of the 4 x 4 scale is a place of the map, four times over."""
    s, t, y = p.outputs()
    loss = 0.1 * F.cross_entropy(s.logits, y)
    (ms, cs), (mt, ct) = ((o.features[-1], n.classifier) for o, n in ((s, p.student), (t, p.teacher)))
    places = [(slice(None), slice(None)), *[(i, j) for i in (0, 1) for j in (0, 1)] * 5]
    for rows, columns in places:
        zs, zt = (c(m[:, :, rows, columns].reshape(BATCH, m.shape[1], -1).mean(2)) for m, c in ((ms, cs), (mt, ct)))
        differs = (zt.argmax(1) == y) != (t.logits.argmax(1) == y)
        loss = loss + 0.9 / 21 * (torch.where(differs, 2.0, 1.0) * 16 * kl(zt.detach() / 4, zs / 4)).mean()
    return loss


def ldrld(p: Plain) -> Tensor:
    """k = 2: one pair, which is also the set, and one other pair of classes."""
    s, t, y = p.outputs()
    order = s.logits.argsort(1, descending=True)
    pair, rest = ((t.logits.gather(1, part), s.logits.gather(1, part)) for part in (order[:, :2], order[:, 2:]))
    weight = 2 / 2.5 * math.exp(-0.05 * 3)
    local = 16 * kl(pair[0] / 4, pair[1] / 4) * (weight + 1) / 2
    return F.cross_entropy(s.logits, y) + (10.5 * local + 7 * 16 * kl(rest[0] / 4, rest[1] / 4)).mean()


def at(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    loss = F.cross_entropy(s.logits, y)
    for ours, theirs in zip(s.features[1:], t.features[1:], strict=True):
        a, b = (F.normalize(maps.pow(2).mean(1).flatten(1)) for maps in (ours, theirs))
        loss = loss + 1000 * F.mse_loss(a, b)
    return loss


def fitnet(p: Plain) -> Tensor:
    s, t, y = p.outputs()
    regressor = p.parts.get_submodule("regressor")
    guided = F.relu(regressor.get_submodule("norm")(regressor.get_submodule("convolution")(s.features[2])))
    return F.cross_entropy(s.logits, y) + 100 * F.mse_loss(guided, t.features[2])


def label(p: Plain) -> Tensor:
    s, _, y = p.outputs()
    return F.cross_entropy(s.logits, y)


def ab_stage(p: Plain) -> Tensor:
    s, t, _ = p.outputs()
    loss = torch.zeros(())
    for level, (ours, theirs) in enumerate(zip(s.preactivations[1:], t.preactivations[1:], strict=True)):
        silent = theirs <= 0
        missed = F.relu(ours + 1).square() * silent + F.relu(1 - ours).square() * ~silent
        loss = loss + 3e-3 * missed.sum() / BATCH / 2 ** (2 - level)
    return loss


def fsp_stage(p: Plain) -> Tensor:
    s, t, _ = p.outputs()
    loss = torch.zeros(())
    for low in range(3):
        flows = []
        for maps in (s.features, t.features):
            a, b = maps[low], maps[low + 1]
            a = F.adaptive_avg_pool2d(a, b.shape[2:])
            flows.append(torch.einsum("bchw,bdhw->bcd", a, b) / (b.shape[2] * b.shape[3]))
        loss = loss + F.mse_loss(*flows)
    return loss


Step = Callable[[Plain], Tensor]
# method: its stage before the recipe's epochs, if it has one, and its step
METHODS: dict[str, tuple[Step | None, Step]] = {
    "kd": (None, kd), "dkd": (None, dkd), "lr": (None, lr), "btkd": (None, btkd), "wttm": (None, wttm),
    "dtkd": (None, dtkd), "normkd": (None, normkd), "sdd_kd": (None, sdd_kd), "ldrld": (None, ldrld),
    "at": (None, at), "fitnet": (None, fitnet), "ab": (ab_stage, label), "fsp": (fsp_stage, label),
}  # fmt: skip


def order() -> Iterator[Tensor]:
    return iter(torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(5)).split(BATCH))


@pytest.mark.parametrize("method", METHODS)
def test_eight_steps(method: str) -> None:
    training, teacher = real(method)
    (learner,) = training.learners
    plain = Plain(*copy.deepcopy((learner.network, teacher, learner.objective.distiller)))
    before = [norm.running_mean.clone() for norm in norms(plain.student)]
    stage, step = METHODS[method]
    for epoch in range(-1 if stage else 0, EPOCHS - bool(stage)):
        learner.begin_epoch(epoch)
        assert plain.student.train() is plain.student
        if epoch in (-1, 0):  # a fresh optimiser for the stage, and for what follows it
            parameters = [*plain.student.parameters(), *plain.parts.parameters()]
            optimizer = torch.optim.SGD(parameters, LR, momentum=MOMENTUM, weight_decay=DECAY, nesterov=True)
        for index in order():
            values = training.train_step(index, index, IMAGES[index], None, max(epoch, 0), 0.0, LR)
            plain.images, plain.labels, plain.epoch = IMAGES[index], LABELS[index], epoch
            loss = stage(plain) if stage is not None and epoch < 0 else step(plain)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            assert values[0].item() == pytest.approx(loss.item(), rel=1e-6), epoch  # the history is in float32
        if epoch < 0:
            moved = [norm.running_mean for norm in norms(learner.network)]
            assert all((one - other).abs().max() > 1e-3 for one, other in zip(moved, before, strict=True))
    for ours, theirs in ((learner.network, plain.student), (learner.objective.distiller, plain.parts)):
        for (name, tensor), again in zip(ours.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert torch.allclose(tensor, again, rtol=1e-9, atol=1e-9), name


def norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_the_paraphraser_s_stage_leaves_the_student_alone() -> None:
    training, _ = real("ft")
    (learner,) = training.learners
    before = copy.deepcopy(learner.network.state_dict())
    paraphraser = copy.deepcopy(learner.objective.distiller.get_submodule("paraphraser").state_dict())
    learner.begin_epoch(-1)
    for index in order():
        training.train_step(index, index, IMAGES[index], None, 0, 0.0, LR)
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.network.state_dict().items())
    now = learner.objective.distiller.get_submodule("paraphraser").state_dict()
    assert any(not torch.equal(tensor, paraphraser[name]) for name, tensor in now.items())


def test_the_stage_comes_on_top_of_the_recipe_s_epochs() -> None:
    """And the first epoch after it shows what the first one of every other method shows."""
    staged, plain = real("ab")[0], real("kd")[0]
    assert (staged.epochs, plain.epochs) == (EPOCHS + 1, EPOCHS)
    assert torch.equal(staged.order(0), plain.order(0)) and not torch.equal(staged.order(-1), staged.order(0))
