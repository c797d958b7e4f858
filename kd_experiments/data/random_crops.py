"""Augmentation without number: a random part of the image, resized, and a flip.

The crop is that of torchvision's RandomResizedCrop (Szegedy et al. 2015): 8 to 100 % of the area, an aspect ratio of
3/4 to 4/3. It is drawn by the counter-based generator for (seed, epoch, sample) and so does not depend on batch order,
workers or resume point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from kd_experiments.randomness import derive, integers

SCALE = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
TRIES = 10
NUMBERS = 2 * TRIES + 3  # area and ratio of every try, then top, left and flip
BELOW = 2**31


@dataclass(frozen=True)
class Crop:
    """A part of an image in pixels, and whether it is shown flipped."""

    top: int
    left: int
    height: int
    width: int
    flipped: bool

    def divisor(self, size: int) -> int:
        """By how much (1, 2, 4 or 8) an image may be smaller so that this part still has `size` pixels a side."""
        return next(number for number in (8, 4, 2, 1) if min(self.height, self.width) >= number * size or number == 1)

    def show(self, image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
        """What `apply` shows, of an image (H, W, 3), as (3, size, size): by torch's kernels, which take a third of
        Pillow's time. One value in twenty is rounded to the level beside Pillow's, as often up as down.
        """
        part = np.array(image[self.top : self.top + self.height, self.left : self.left + self.width])
        whole = torch.from_numpy(part)[None].permute(0, 3, 1, 2)  # in this order torch knows it as channels last
        shown = F.interpolate(whole, (size, size), mode="bilinear", antialias=True)
        return (shown.flip(-1) if self.flipped else shown)[0].numpy()

    def apply(self, image: Image.Image, size: int, divisor: int = 1) -> Image.Image:
        """Cut out, resized to (size, size) as torchvision does it: bilinear with antialiasing, then flipped.

        `image` may have been decoded `divisor` times smaller a side.
        """
        left, top = self.left // divisor, self.top // divisor
        right, bottom = -(-(self.left + self.width) // divisor), -(-(self.top + self.height) // divisor)
        part = image.crop((left, top, right, bottom))
        x, y = self.left / divisor - left, self.top / divisor - top
        box = (x, y, x + self.width / divisor, y + self.height / divisor)
        part = part.resize((size, size), Image.Resampling.BILINEAR, box)
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flipped else part


@dataclass(frozen=True)
class RandomCrops:
    """One crop for each sample and epoch; with `flip`, half of them are flipped."""

    flip: bool

    def draw(self, seed: int, epoch: int, samples: Tensor) -> Tensor:
        """What decides the crops of `samples` (n,) int64 in an epoch: integers (n, NUMBERS) in [0, BELOW)."""
        counters = samples[:, None] * NUMBERS + torch.arange(NUMBERS)
        return integers(derive(seed, "crops", epoch), counters, BELOW)

    def crop(self, numbers: Sequence[int], width: int, height: int) -> Crop:
        """The crop of an image of width x height: the first of ten tries that fits into it, else a central one."""
        flipped = self.flip and numbers[-1] < BELOW // 2
        for area, ratio in zip(numbers[: 2 * TRIES : 2], numbers[1 : 2 * TRIES : 2], strict=True):
            pixels = width * height * _between(*SCALE, area)
            aspect = math.exp(_between(math.log(RATIO[0]), math.log(RATIO[1]), ratio))
            wide, high = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
            if 0 < wide <= width and 0 < high <= height:
                top, left = numbers[-3] * (height - high + 1) // BELOW, numbers[-2] * (width - wide + 1) // BELOW
                return Crop(top, left, high, wide, flipped)
        wide, high = width, height
        if width / height < RATIO[0]:
            high = round(width / RATIO[0])
        elif width / height > RATIO[1]:
            wide = round(height * RATIO[1])
        return Crop((height - high) // 2, (width - wide) // 2, high, wide, flipped)


def _between(low: float, high: float, number: int) -> float:
    return low + (high - low) * number / BELOW
