"""ShuffleNetV2 for 32x32 images (Ma et al. 2018, arXiv:1807.11164); the benchmark's parameter names."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, run_stages
from kd_experiments.networks.shuffle_v1 import shuffle

STEM = 24
STAGES = ((116, 3), (232, 7), (464, 3))  # (channels, blocks after the one that halves the size)
EMBEDDING = 1024


def depthwise(width: int, stride: int) -> nn.Conv2d:
    """A 3x3 convolution of each channel by itself."""
    return nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)


def pointwise(inputs: int, outputs: int) -> nn.Conv2d:
    """A 1x1 convolution."""
    return nn.Conv2d(inputs, outputs, 1, bias=False)


class BasicBlock(nn.Module):
    """Transforms the second half of the channels and shuffles, short of the last ReLU; keeps the shape.

    The first half has been through a ReLU already, so that one over all channels changes nothing there.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1 = pointwise(half, half)
        self.bn1 = nn.BatchNorm2d(half)
        self.conv2 = depthwise(half, 1)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = pointwise(half, half)
        self.bn3 = nn.BatchNorm2d(half)

    def forward(self, maps: Tensor) -> Tensor:
        kept, residual = maps.chunk(2, 1)
        residual = F.relu(self.bn1(self.conv1(residual)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        residual = self.bn3(self.conv3(residual))
        return shuffle(torch.cat([kept, residual], 1), 2)


class DownBlock(nn.Module):
    """Two branches at stride 2, concatenated and shuffled, short of the last ReLU: (B, outputs, H/2, W/2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.conv1 = depthwise(inputs, 2)
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv2 = pointwise(inputs, half)
        self.bn2 = nn.BatchNorm2d(half)
        self.conv3 = pointwise(inputs, half)
        self.bn3 = nn.BatchNorm2d(half)
        self.conv4 = depthwise(half, 2)
        self.bn4 = nn.BatchNorm2d(half)
        self.conv5 = pointwise(half, half)
        self.bn5 = nn.BatchNorm2d(half)

    def forward(self, maps: Tensor) -> Tensor:
        left = self.bn2(self.conv2(self.bn1(self.conv1(maps))))
        right = F.relu(self.bn3(self.conv3(maps)), inplace=True)
        right = self.bn5(self.conv5(self.bn4(self.conv4(right))))
        return shuffle(torch.cat([left, right], 1), 2)


class ShuffleNetV2(Network):
    """A 1x1 stem at full size, three stages, each of which halves it first, and a 1x1 convolution.

    Features at 32x32: (24, 32, 32), (116, 16, 16), (232, 8, 8), (464, 4, 4).
    """

    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = pointwise(channels, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        *inputs, outputs = STEM, *(width for width, _ in STAGES)
        self.layer1, self.layer2, self.layer3 = (
            self._stage(width, *stage) for width, stage in zip(inputs, STAGES, strict=True)
        )
        self.conv2 = pointwise(outputs, EMBEDDING)
        self.bn2 = nn.BatchNorm2d(EMBEDDING)
        self.linear = nn.Linear(EMBEDDING, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
        return nn.Sequential(DownBlock(inputs, outputs), *(BasicBlock(outputs) for _ in range(blocks)))

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return run_stages(self.bn1(self.conv1(images)), self.layer1, self.layer2, self.layer3)

    def last_map(self, before: Tensor, maps: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(maps)), inplace=True)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [self.bn1, None, None, None]  # half of a stage's channels come from blocks before its last
