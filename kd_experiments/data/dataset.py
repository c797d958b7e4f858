"""A data set in memory: uint8 images and labels, split into train, validation and test, and shown batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from kd_experiments.data.image_files import ImageFiles
from kd_experiments.data.strong_views import rand_augment
from kd_experiments.data.views import Views

ImagesT = TypeVar("ImagesT", Tensor, ImageFiles)  # where the images of a data set are


@dataclass(frozen=True)
class Split(Generic[ImagesT]):
    """Images (N, C, H, W) uint8 (or the files that hold them) and labels (N,) int64, as the run sees them.

    `true_labels` are the labels before label noise; without noise they are the same tensor. `origin` (N,) says where
    each sample stands in the data set as it is stored.
    """

    images: ImagesT
    labels: Tensor
    true_labels: Tensor
    origin: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def at(self, index: Tensor) -> Split[ImagesT]:
        """The samples `index` (n,), on the split's device, as a split of their own."""
        return Split(self.images[index], self.labels[index], self.true_labels[index], self.origin[index.cpu()])

    def to(self, device: torch.device) -> Split[ImagesT]:
        labels = self.labels.to(device)
        true_labels = labels if self.true_labels is self.labels else self.true_labels.to(device)
        return Split(self.images.to(device), labels, true_labels, self.origin)


@dataclass(frozen=True)
class Data(Generic[ImagesT]):
    """Everything a run needs to know about its data; images stay uint8 until they are shown to a network.

    `MemoryData` holds the images, `StreamedData` reads them from files again and again.
    """

    name: str
    train: Split[ImagesT]
    val: Split[ImagesT]
    test: Split[ImagesT]
    class_names: tuple[str, ...]
    mean: Tensor  # (C,) in units of 1, of the images scaled to [0, 1]
    std: Tensor  # (C,)
    views: Views | None  # None: every view is another one, so that they have no number

    @property
    def classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def size(self) -> int:
        return self.train.images.shape[2]

    @property
    def device(self) -> torch.device:
        return self.train.labels.device

    @property
    def kept_with_weights(self) -> dict[str, object]:
        """What a file of trained weights says of the images it was made for, as plain values."""
        return {
            "channels": self.channels,
            "size": self.size,
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "class_names": list(self.class_names),
        }

    def to(self, device: torch.device) -> Self:
        return replace(
            self,
            train=self.train.to(device),
            val=self.val.to(device),
            test=self.test.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32 with the data set's mean and standard deviation, channels last."""
        scale = 1.0 / (255.0 * self.std)
        shift = -self.mean / self.std
        floats = images.to(dtype=torch.float32, memory_format=torch.channels_last)
        count, channels, height, width = floats.shape
        # Whole rows at a time: a loop over three channels, innermost in memory, takes a CPU six times as long.
        rows = floats.permute(0, 2, 3, 1).view(count, height, width * channels)
        rows.mul_(scale.repeat(width)).add_(shift.repeat(width))
        return floats

    def epoch_views(self, seed: int, epoch: int) -> Tensor | None:
        """The view of every training image in one epoch, (N,) int64; None where views have no number."""
        return None if self.views is None else self.views.draw(seed, epoch, len(self.train), self.device)

    def order(self, generator: torch.Generator) -> Tensor:
        """A random order of the training images, (N,) int64 on the CPU."""
        return torch.randperm(len(self.train), generator=generator)

    def in_view(self, index: Tensor, view: Tensor) -> Tensor:
        """Training images `index` (B,) in their views (B,), ready for a network; only where views have numbers."""
        raise NotImplementedError

    def training_batches(
        self, order: Tensor, seed: int, epoch: int, batch_size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """The training images `order` (n,) as one epoch shows them: their indices (B,) and images, as `normalise` has
        them.

        An image's view depends on seed, epoch and index alone, not on the order or the batch.
        """
        raise NotImplementedError

    def strong_view(self, index: Tensor, images: Tensor, seed: int, epoch: int) -> Tensor:
        """The training images `index` (B,) in a second, strong view, ready for a network, (B, C, H, W).

        It depends on seed, epoch and index alone. `images` is the first view.
        """
        raise NotImplementedError

    def evaluation_batches(self, split: Split[ImagesT], chunk: int) -> Iterator[Tensor]:
        """All images of a split, un-augmented, in order: batches of `chunk`, as `normalise` has them."""
        raise NotImplementedError


@dataclass(frozen=True)
class MemoryData(Data[Tensor]):
    """Images in memory, on the run's device; their views have numbers."""

    views: Views

    def in_view(self, index: Tensor, view: Tensor) -> Tensor:
        return self.normalise(self.views.apply(self.train.images[index], view))

    def training_batches(
        self, order: Tensor, seed: int, epoch: int, batch_size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        view = self.views.draw(seed, epoch, len(self.train), self.device)
        for index in order.split(batch_size):
            yield index, self.in_view(index, view[index])

    def strong_view(self, index: Tensor, images: Tensor, seed: int, epoch: int) -> Tensor:
        """A crop and a flip of its own, and then RandAugment."""
        shown = self.views.apply(self.train.images[index], self.views.draw_strong(seed, epoch, index))
        return self.normalise(rand_augment(shown, index, seed, epoch))

    def evaluation_batches(self, split: Split[Tensor], chunk: int) -> Iterator[Tensor]:
        for images in split.images.split(chunk):
            yield self.normalise(images)


def channel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (C,) each, of uint8 images scaled to [0, 1].

    Counted by pixel value, so that no copy of the images is made.
    """
    return statistics_of(pixel_counts(images))


def pixel_counts(images: Tensor) -> Tensor:
    """How often each value stands in each channel, (C, 256) int64, of uint8 images (N, C, H, W)."""
    channels = [images[:, channel].reshape(-1) for channel in range(images.shape[1])]
    return torch.stack([torch.bincount(channel, minlength=256) for channel in channels])


def statistics_of(pixel_counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (C,) each, from `pixel_counts` (C, 256), values scaled to [0, 1]."""
    levels = torch.arange(256, dtype=torch.float64) / 255
    counts = pixel_counts.double()
    pixels = counts.sum(1)
    mean = counts @ levels / pixels
    variance = (counts * (levels - mean[:, None]) ** 2).sum(1) / (pixels - 1)
    return mean.float(), variance.sqrt().float()
