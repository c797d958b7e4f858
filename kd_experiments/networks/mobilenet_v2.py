"""MobileNetV2 for 32x32 images (Sandler et al. 2018, arXiv:1801.04381); the benchmark's `mobile_half`."""

from __future__ import annotations

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, kaiming_fan_out, last_norm

# (expansion, channels at width 1, blocks, stride of the first block)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STAGE_ENDS = (1, 2, 4, 6)
EMBEDDING = 1280


class InvertedResidual(nn.Module):
    """Widen, convolve each channel, project linearly.

    (B, inputs, H, W) -> (B, outputs, H/stride, W/stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.skips = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, maps: Tensor) -> Tensor:
        projected = self.conv(maps)
        if self.skips:
            projected += maps
        return projected


class MobileNetV2(Network):
    """MobileNetV2 whose stem halves the image and whose second stage does not.

    A stage ends in a linear bottleneck: there its feature and its pre-activation are the same tensor.
    Features at 32x32 and half width: (16, 16, 16), (12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2).
    """

    def __init__(self, *, width: float, classes: int, channels: int) -> None:
        super().__init__()
        inputs = int(32 * width)
        self.conv1 = nn.Sequential(
            nn.Conv2d(channels, inputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(inputs)
        )
        self.blocks = nn.ModuleList()
        for expansion, full_width, blocks, stride in STAGES:
            outputs = int(full_width * width)
            rest = (InvertedResidual(outputs, outputs, 1, expansion) for _ in range(blocks - 1))
            self.blocks.append(nn.Sequential(InvertedResidual(inputs, outputs, stride, expansion), *rest))
            inputs = outputs
        self.conv2 = nn.Sequential(
            nn.Conv2d(inputs, EMBEDDING, 1, bias=False), nn.BatchNorm2d(EMBEDDING), nn.ReLU(inplace=True)
        )
        self.classifier = nn.Sequential(nn.Linear(EMBEDDING, classes))  # type: ignore[misc, assignment]
        kaiming_fan_out(self)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        before = self.conv1(images)
        maps = F.relu(before)
        yield before, maps
        for number, block in enumerate(self.blocks):
            maps = block(maps)
            if number in STAGE_ENDS:
                yield maps, maps

    def last_map(self, before: Tensor, maps: Tensor) -> Tensor:
        projected: Tensor = self.conv2(maps)
        return projected

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [last_norm(self.conv1), *(last_norm(self.blocks[number]) for number in STAGE_ENDS)]
