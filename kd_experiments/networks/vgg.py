"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556) with batch norm and one linear layer.

The benchmark's parameter names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, kaiming_fan_out, last_norm

WIDTHS = (64, 128, 256, 512, 512)


def stage(inputs: int, width: int, convolutions: int) -> nn.Sequential:
    """3x3 convolutions, each with batch norm and ReLU, short of the last ReLU."""
    layers: list[nn.Module] = []
    for _ in range(convolutions):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        inputs = width
    return nn.Sequential(*layers[:-1])


def halve(maps: Tensor, down_to: int = 1) -> Tensor:
    """2x2 max pooling, left out where it would leave less than `down_to` pixels a side."""
    return F.max_pool2d(maps, 2) if min(maps.shape[2:]) >= 2 * down_to else maps


class VGG(Network):
    """Five stages of 3x3 convolutions with max pooling between them.

    The pooling before the last stage needs 8x8 maps (64x64 images), so that it sees 4x4 at 32x32 and 64x64.
    Features at 32x32: (64, 32, 32), (128, 16, 16), (256, 8, 8), (512, 4, 4), (512, 4, 4).
    """

    def __init__(self, *, convolutions: Sequence[int], classes: int, channels: int) -> None:
        super().__init__()
        inputs = (channels, *WIDTHS[:-1])
        self.block0, self.block1, self.block2, self.block3, self.block4 = (
            stage(*shape) for shape in zip(inputs, WIDTHS, convolutions, strict=True)
        )
        self.classifier = nn.Linear(WIDTHS[-1], classes)  # type: ignore[misc]
        kaiming_fan_out(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        *inner, last = self._blocks()
        maps = images
        for number, block in enumerate(inner):
            before = block(maps if number == 0 else halve(maps))
            maps = F.relu(before)
            yield before, maps
        before = last(halve(maps, down_to=4))
        yield before, F.relu(before)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [last_norm(stage) for stage in self._blocks()]

    def _blocks(self) -> tuple[nn.Sequential, ...]:
        return self.block0, self.block1, self.block2, self.block3, self.block4
