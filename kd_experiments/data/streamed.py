"""A data set larger than memory: files are decoded whenever they are shown, ahead of the run, in other processes."""

from __future__ import annotations

import contextlib
import itertools
import math
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from kd_experiments.data.dataset import Data, Split, pixel_counts, statistics_of
from kd_experiments.data.decode import BrokenImage, centre, decode_smaller, opened, pixels, rgb_rows, to_rgb
from kd_experiments.data.image_files import ImageFiles, broken
from kd_experiments.data.random_crops import RandomCrops
from kd_experiments.data.strong_views import rand_augment
from kd_experiments.errors import UserError
from kd_experiments.private import end_workers
from kd_experiments.randomness import derive, ranking
from kd_experiments.stopping import EXIT_CODES

# Images that a process decodes before it hands them over: it has twice as many ready at most, whatever the batch size.
PIECE = 64
WINDOW = 32  # shards whose images are shuffled among each other: about 33,000 images of ImageNet, a gigabyte
STATISTICS_OF = 2000  # images that stand for all when mean and standard deviation are asked for


@dataclass(frozen=True)
class Augmentation:
    """The crops of one epoch of one run."""

    crops: RandomCrops
    seed: int
    epoch: int

    def numbers(self, samples: NDArray[np.int64]) -> list[list[int]]:
        """What decides the crop of each sample (n,)."""
        return self.crops.draw(self.seed, self.epoch, torch.from_numpy(samples)).tolist()

    def show(self, path: Path, numbers: Sequence[int], size: int) -> NDArray[np.uint8]:
        """The crop of the image at `path`, (3, size, size) uint8; raises as `decode.centre` does.

        A JPEG with far more pixels than the crop shows is decoded at a fraction of its size; evaluation never is.
        """
        with opened(path) as image:
            crop = self.crops.crop(numbers, *image.size)
            divisor = decode_smaller(image, crop.divisor(size))
            if divisor == 1:
                return crop.show(rgb_rows(image, crop.top + crop.height), size)
            return pixels(crop.apply(to_rgb(image), size, divisor))


@dataclass(frozen=True)
class StreamedData(Data[ImageFiles]):
    """Images from files, bounded memory: a batch, and `workers` times two pieces of `PIECE` images.

    Whatever `workers` is, the same batches come in the same order, bit for bit.
    """

    crops: RandomCrops
    workers: int

    def order(self, generator: torch.Generator) -> Tensor:
        """A random order; images in shards are shuffled among `WINDOW` of them, which come in a random order, so that
        every shard is read once an epoch and from front to back.
        """
        shards = self._shards
        if shards is None:
            return super().order(generator)
        count = int(shards.max()) + 1
        windows = torch.randperm(count, generator=generator) // WINDOW  # of each shard
        shuffled = torch.randperm(len(shards), generator=generator)
        return shuffled[windows[shards[shuffled]].argsort(stable=True)]

    @cached_property
    def _shards(self) -> Tensor | None:
        return self.train.images.shards()

    def training_batches(
        self, order: Tensor, seed: int, epoch: int, batch_size: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        augmentation = Augmentation(self.crops, seed, epoch)
        with contextlib.closing(
            batches(self.train.images, order.cpu(), batch_size, augmentation, self.workers, self.device)
        ) as found:
            for index, images in zip(order.split(batch_size), found, strict=True):
                yield index, self.normalise(images)

    def strong_view(self, index: Tensor, images: Tensor, seed: int, epoch: int) -> Tensor:
        """RandAugment of the first view: a crop of its own would decode every file twice."""
        scale, shift = 255 * self.std[:, None, None], 255 * self.mean[:, None, None]
        shown = (images * scale + shift).round_().clamp_(0, 255).to(torch.uint8)
        return self.normalise(rand_augment(shown, index, seed, epoch))

    def evaluation_batches(self, split: Split[ImageFiles], chunk: int) -> Iterator[Tensor]:
        everything = torch.arange(len(split))
        with contextlib.closing(batches(split.images, everything, chunk, None, self.workers, self.device)) as found:
            for images in found:
                yield self.normalise(images)


def batches(
    files: ImageFiles,
    order: Tensor,
    batch_size: int,
    augmentation: Augmentation | None,
    workers: int,
    device: torch.device,
) -> Generator[Tensor, None, None]:
    """The images `order` (n,) of `files`, (B, 3, S, S) uint8 on the device, augmented or still.

    Raises `UserError` for an image that cannot be decoded. Close the iterator if it is not exhausted: that ends the
    processes. With CUDA the copies run beside whatever the device does.
    """
    bounds = [
        (start, min(start + PIECE, stop))
        for first in range(0, len(order), batch_size)
        for stop in [min(first + batch_size, len(order))]
        for start in range(first, stop, PIECE)
    ]
    pieces = _decoded(_Pieces(files, order.numpy(), bounds, augmentation), workers, device)
    with contextlib.closing(pieces):
        for first in range(0, len(order), batch_size):
            count = math.ceil(min(batch_size, len(order) - first) / PIECE)
            found = list(itertools.islice(pieces, count))
            yield torch.cat(found) if count > 1 else found[0]


def sampled_statistics(files: ImageFiles, seed: int, workers: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (3,) each, of `STATISTICS_OF` of the images, picked by seed."""
    some = ranking(derive(seed, "statistics"), len(files))[:STATISTICS_OF]
    with contextlib.closing(batches(files, some, PIECE, None, workers, torch.device("cpu"))) as found:
        return statistics_of(torch.stack([pixel_counts(images) for images in found]).sum(0))


@dataclass(eq=False)
class _Pieces(Dataset[Tensor | str]):
    """Piece i is the images `index[start:stop]` for (start, stop) = `bounds[i]`, or what is wrong with one of them.

    An exception would reach the run with a traceback for its message.
    """

    files: ImageFiles
    index: NDArray[np.int64]
    bounds: Sequence[tuple[int, int]]
    augmentation: Augmentation | None

    def __len__(self) -> int:
        return len(self.bounds)

    def __getitem__(self, piece: int) -> Tensor | str:
        index = self.index[slice(*self.bounds[piece])]
        augmentation, size = self.augmentation, self.files.size
        images = np.empty((len(index), size, size, 3), np.uint8)  # as they are decoded, and as networks take them
        numbers = augmentation.numbers(index) if augmentation is not None else []
        for place, sample in enumerate(index.tolist()):
            path = self.files.path(sample)
            try:
                shown = centre(path, size) if augmentation is None else augmentation.show(path, numbers[place], size)
            except BrokenImage as error:
                return str(broken(path, str(error)))
            except UserError as error:
                return str(error)
            images[place] = shown.transpose(1, 2, 0)
        return torch.from_numpy(images).permute(0, 3, 1, 2)


def _decoded(pieces: _Pieces, workers: int, device: torch.device) -> Generator[Tensor, None, None]:
    """All pieces in order, on the device."""
    workers = workers if len(pieces) > 1 else 0
    cuda = device.type == "cuda"
    loader = DataLoader(
        pieces,
        batch_size=None,
        num_workers=workers,
        pin_memory=cuda,
        generator=torch.Generator(),  # it draws a number, not from the stream that dropout reads
        worker_init_fn=_leave_signals_to_the_run,
    )
    with _signals_wait():
        found = iter(loader)
    try:
        for piece in found:
            if isinstance(piece, str):
                raise UserError(piece)
            yield piece.to(device, non_blocking=cuda)
    finally:
        # At once, not when the last traceback that mentions the iterator is forgotten.
        if workers:
            end_workers(found)


@contextlib.contextmanager
def _signals_wait() -> Iterator[None]:
    """They act after the block: while a process is forked, Python may print and forget the exception they raise.

    What is forked has them blocked from its first moment, since a worker would end before it could leave them.
    """
    if threading.current_thread() is not threading.main_thread():  # no handlers are called there, nor can be set
        yield
        return
    came: list[int] = []
    masks = hasattr(signal, "pthread_sigmask")
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, EXIT_CODES) if masks else set()
    before = {number: signal.signal(number, lambda number, frame: came.append(number)) for number in EXIT_CODES}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for each in came:
            signal.raise_signal(each)


def _leave_signals_to_the_run(worker: int) -> None:
    """Ctrl-C and SIGTERM may reach every process; the run ends its workers itself, and without their tracebacks."""
    for number in EXIT_CODES:
        signal.signal(number, signal.SIG_IGN)
