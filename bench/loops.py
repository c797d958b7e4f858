"""The two loops ours is compared with: a conventional one, as public suites write it, and a bare one."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision import transforms

from kd_experiments.data.dataset import Data
from kd_experiments.networks import Network
from kd_experiments.training.devices import autocast
from kd_experiments.training.recipe import Recipe

WORKERS = 2


class Pictures(Dataset[tuple[Tensor, int]]):
    """Training images as PIL objects, transformed one by one."""

    def __init__(self, data: Data) -> None:
        assert isinstance(data.train.images, Tensor)
        self._images = data.train.images.permute(0, 2, 3, 1).cpu().numpy()
        self._labels = data.train.labels.tolist()
        self._transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(data.mean.tolist(), data.std.tolist()),
            ]
        )

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(Image.fromarray(self._images[index])), self._labels[index]


class Endless(Sampler[list[int]]):
    """One shuffled epoch after another, so that the workers never stop; an epoch's last batch may be short."""

    def __init__(self, samples: int, batch_size: int) -> None:
        self._samples = samples
        self._batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        while True:
            for batch in torch.randperm(self._samples).split(self._batch_size):
                yield batch.tolist()


class ConventionalLoop:
    """KD as public suites write it: PIL images from two worker processes, the teacher asked in every step, plain SGD,
    the loss read on the host in every step.
    """

    def __init__(self, teacher: Network, student: Network, data: Data, recipe: Recipe) -> None:
        self.losses: list[float] = []
        self._teacher, self._student = teacher.eval(), student
        self._device = data.device
        self._steps = recipe.steps_per_epoch(len(data.train))
        self._loader = DataLoader(
            Pictures(data),
            batch_sampler=Endless(len(data.train), recipe.batch_size),
            num_workers=WORKERS,
            pin_memory=data.device.type == "cuda",
        )
        self._batches: Iterator[list[Tensor]] = iter(self._loader)
        self._optimizer = torch.optim.SGD(
            student.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )

    def epoch(self) -> None:
        for _ in range(self._steps):
            self.step()

    def step(self) -> None:
        self._student.train()
        images, labels = (part.to(self._device) for part in next(self._batches))
        with torch.no_grad():
            said = self._teacher(images).logits
        logits = self._student(images).logits
        soft = F.kl_div(F.log_softmax(logits / 4, 1), F.softmax(said / 4, 1), reduction="batchmean") * 16
        loss = 0.1 * F.cross_entropy(logits, labels) + 0.9 * soft
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self.losses.append(loss.item())


class BareLoop:
    """Forward, backward and SGD on one batch of random numbers that lies on the device: nothing can be left out.

    Same network, memory format, number format, optimiser and batch sizes as a run's own loop.
    """

    def __init__(self, network: Network, data: Data, recipe: Recipe) -> None:
        self._network = network.train()
        self._device = data.device
        self._sizes = [len(batch) for batch in torch.arange(len(data.train)).split(recipe.batch_size)]
        shape = (recipe.batch_size, data.channels, data.size, data.size)
        self._images = torch.randn(shape, device=data.device).to(memory_format=torch.channels_last)
        self._labels = torch.randint(0, data.classes, (recipe.batch_size,), device=data.device)
        self._optimizer = recipe.make_optimizer(network.parameters())

    def epoch(self) -> None:
        for size in self._sizes:
            with autocast(self._device):
                logits = self._network(self._images[:size]).logits
            loss = F.cross_entropy(logits.float(), self._labels[:size])
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self._optimizer.step()
