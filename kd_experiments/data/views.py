"""Augmentation as a finite set of views: zero-padded crops and flips, numbered.

A view id is drawn for every (sample, epoch) by a counter-based generator. It does not depend on batch order, workers,
resume point or method, so two methods with one seed see the same images, and what a teacher said about a view can be
kept and looked up.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from kd_experiments.randomness import derive, integers


@dataclass(frozen=True)
class Views:
    """Crops at every offset of an image padded with `padding` zeros a side, with and without a flip."""

    padding: int
    flip: bool

    @property
    def offsets(self) -> int:
        return 2 * self.padding + 1

    @property
    def count(self) -> int:
        """How many different views an image has."""
        return self.offsets**2 * (2 if self.flip else 1)

    def draw(self, seed: int, epoch: int, samples: int, device: torch.device) -> Tensor:
        """View ids of one epoch, (samples,) int64."""
        counters = torch.arange(samples, device=device)
        return integers(derive(seed, "views", epoch), counters, self.count)

    def draw_strong(self, seed: int, epoch: int, index: Tensor) -> Tensor:
        """View ids of the samples `index` (B,) in their second, strong view, (B,) int64: an independent draw."""
        return integers(derive(seed, "strong views", epoch), index, self.count)

    def parts(self, view: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(top, left, flipped) of each view id: offsets into the padded image, and a bool."""
        top = torch.div(view, self.offsets, rounding_mode="floor") % self.offsets
        return top, view % self.offsets, view >= self.offsets**2

    def apply(self, images: Tensor, view: Tensor) -> Tensor:
        """Show each image in its view: (B, C, H, W) any dtype, (B,) int64 -> (B, C, H, W).

        Zeros are padded to the raw pixels, hence before normalisation; the crop comes before the flip.
        """
        if self.count == 1:
            return images
        batch, channels, height, width = images.shape
        device = images.device
        padded = F.pad(images, [self.padding] * 4) if self.padding else images
        top, left, flipped = self.parts(view)
        columns = torch.arange(width, device=device).expand(batch, width)
        columns = torch.where(flipped[:, None], columns.flip(1), columns) + left[:, None]
        rows = torch.arange(height, device=device) + top[:, None]
        return padded[
            torch.arange(batch, device=device)[:, None, None, None],
            torch.arange(channels, device=device)[:, None, None],
            rows[:, None, :, None],
            columns[:, None, None, :],
        ]
