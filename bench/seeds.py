"""Five seeds of one student trained together, vmapped, over the five trained one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F

from bench.material import BATCH, CLASSES
from bench.measurement import Measurement, Setting, interleaved, ratios
from kd_experiments.networks import Network, build
from kd_experiments.training.devices import autocast

SEEDS = 5
STUDENTS = ("resnet8", "resnet20")
STEPS = 4
LR, MOMENTUM, DECAY = 0.05, 0.9, 5e-4


def figures(setting: Setting) -> Iterator[Measurement]:
    for name in STUDENTS[:1] if setting.quick else STUDENTS:
        yield of_student(name, setting)


def of_student(name: str, setting: Setting) -> Measurement:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SEEDS, BATCH, 3, 32, 32, generator=generator).to(setting.device)
    labels = torch.randint(0, CLASSES, (SEEDS, BATCH), generator=generator).to(setting.device)
    separate, together = Separate(students(name, setting.device)), Together(students(name, setting.device))
    own = [batch.to(memory_format=torch.channels_last) for batch in images]  # as our loop shows them

    def one_after_the_other() -> None:
        for place in range(SEEDS):
            for _ in range(STEPS):
                separate.step(place, own[place], labels[place])

    def at_once() -> None:
        for _ in range(STEPS):
            together.step(images, labels)

    seconds = interleaved(
        {"separate": one_after_the_other, "together": at_once}, setting.repetitions(5), setting.device
    )
    return Measurement(
        name="seeds_together",
        about=f"{SEEDS} seeds one after the other over the {SEEDS} vmapped (torch.func), forward, backward and SGD",
        setting=f"{name}, batch {BATCH} a seed, {STEPS} steps a repetition",
        unit="x",
        better="higher",
        target=None,
        values=ratios(seconds["separate"], seconds["together"]),
        parts=seconds,
        note="above 1 a mode for several seeds at once would pay",
    )


def students(name: str, device: torch.device) -> list[Network]:
    """One network a seed, in training mode."""
    torch.manual_seed(0)
    return [build(name, classes=CLASSES, channels=3, size=32).to(device).train() for _ in range(SEEDS)]


def sgd(parameters: Sequence[Tensor]) -> torch.optim.SGD:
    fused = parameters[0].device.type in ("cpu", "cuda")
    return torch.optim.SGD(parameters, lr=LR, momentum=MOMENTUM, weight_decay=DECAY, fused=fused)


class Separate:
    """Each network by itself, channels last, as our loop trains it."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.networks = [network.to(memory_format=torch.channels_last) for network in networks]
        self._optimizers = [sgd(list(network.parameters())) for network in self.networks]

    def step(self, place: int, images: Tensor, labels: Tensor) -> None:
        """(B, C, H, W) and (B,): one step of one network."""
        with autocast(images.device):
            logits = self.networks[place](images).logits
        _update(F.cross_entropy(logits.float(), labels), self._optimizers[place])


class Together:
    """All networks in one call: every parameter and statistic has the seeds as its first dimension."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self.parameters, self.buffers = stack_module_state(list[nn.Module](networks))
        self._like = networks[0]
        self._optimizer = sgd(list(self.parameters.values()))

    def step(self, images: Tensor, labels: Tensor) -> None:
        """(S, B, C, H, W) and (S, B): one step of each network with its own batch."""

        def logits(parameters: dict[str, Tensor], buffers: dict[str, Tensor], batch: Tensor) -> Tensor:
            said: Tensor = functional_call(self._like, (parameters, buffers), (batch,)).logits
            return said

        with autocast(images.device):
            said = vmap(logits)(self.parameters, self.buffers, images)
        losses = F.cross_entropy(said.float().flatten(0, 1), labels.flatten()) * len(labels)
        _update(losses, self._optimizer)


def _update(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
