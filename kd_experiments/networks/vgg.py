"""VGG (Simonyan and Zisserman 2015, arXiv:1409.1556) with batch norm and one linear layer.

The benchmark's parameter names.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, Output, kaiming_fan_out, last_norm, pool

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

    def forward(self, images: Tensor) -> Output:
        before0 = self.block0(images)
        maps0 = F.relu(before0)
        before1 = self.block1(halve(maps0))
        maps1 = F.relu(before1)
        before2 = self.block2(halve(maps1))
        maps2 = F.relu(before2)
        before3 = self.block3(halve(maps2))
        maps3 = F.relu(before3)
        before4 = self.block4(halve(maps3, down_to=4))
        maps4 = F.relu(before4)
        embedding = pool(maps4)
        features = (maps0, maps1, maps2, maps3, maps4)
        before = (before0, before1, before2, before3, before4)
        return Output(self.classifier(embedding), features, before, embedding)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        stages = (self.block0, self.block1, self.block2, self.block3, self.block4)
        return [last_norm(stage) for stage in stages]
