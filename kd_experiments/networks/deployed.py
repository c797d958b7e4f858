"""A trained network with its preprocessing, as it is used outside of the suite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from kd_experiments.networks import build


class Deployed(nn.Module):
    """Images (B, C, H, W), uint8 or floats in [0, 1], -> logits (B, classes); in eval mode, without gradients.

    One image (C, H, W) is a batch of one, and images of another size are resized (bilinear, anti-aliased) to `size`.
    `class_names`, `size` (height and width it was trained with), `mean` and `std` (C,) say the rest. `kept` is what
    `student.pt` or `teacher.pt` holds.
    """

    def __init__(self, kept: Mapping[str, Any]) -> None:
        super().__init__()
        images = kept["images"]
        self.class_names: tuple[str, ...] = tuple(images["class_names"])
        self.channels, self.size = images["channels"], images["size"]
        self.network = build(kept["network"], classes=len(self.class_names), channels=self.channels, size=self.size)
        self.network.load_state_dict(kept["model"])
        self.register_buffer("mean", torch.tensor(images["mean"]))
        self.register_buffer("std", torch.tensor(images["std"]))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        images = images[None] if images.dim() == 3 else images
        scaled = images / 255 if images.dtype == torch.uint8 else images
        if scaled.shape[-2:] != (self.size, self.size):
            scaled = nn.functional.interpolate(scaled, (self.size, self.size), mode="bilinear", antialias=True)
        return self.network((scaled - mean[:, None, None]) / std[:, None, None]).logits

    def predict(self, images: Tensor) -> list[str]:
        """The names of the predicted classes."""
        return [self.class_names[label] for label in self(images).argmax(1).tolist()]
