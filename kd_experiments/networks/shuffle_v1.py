"""ShuffleNet for 32x32 images (Zhang et al. 2018, arXiv:1707.01083); the benchmark's parameter names."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, last_norm, run_stages

STEM = 24
STAGES = ((240, 4), (480, 8), (960, 4))  # (channels, blocks)
GROUPS = 3


def shuffle(maps: Tensor, groups: int) -> Tensor:
    """Interleave the groups of channels of (B, groups * n, H, W); the shape stays."""
    return maps.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)


class Bottleneck(nn.Module):
    """Grouped 1x1, depthwise 3x3 and grouped 1x1 convolutions and a skip, short of the last ReLU.

    At stride 2 the average-pooled input is concatenated to it; at stride 1 the input is added.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        residual = outputs - inputs if stride == 2 else outputs
        width = residual // 4
        self.stride = stride
        self.groups = 1 if inputs == STEM else GROUPS
        self.conv1 = nn.Conv2d(inputs, width, 1, groups=self.groups, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, residual, 1, groups=GROUPS, bias=False)
        self.bn3 = nn.BatchNorm2d(residual)

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(shuffle(residual, self.groups))), inplace=True)
        residual = self.bn3(self.conv3(residual))
        if self.stride == 2:
            return torch.cat([residual, F.avg_pool2d(maps, 3, stride=2, padding=1)], 1)
        residual += maps
        return residual


class ShuffleNetV1(Network):
    """A 1x1 stem at full size and three stages, each of which halves it first.

    Features at 32x32: (24, 32, 32), (240, 16, 16), (480, 8, 8), (960, 4, 4).
    """

    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, STEM, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        *inputs, outputs = STEM, *(width for width, _ in STAGES)
        self.layer1, self.layer2, self.layer3 = (
            self._stage(width, *stage) for width, stage in zip(inputs, STAGES, strict=True)
        )
        self.linear = nn.Linear(outputs, classes)

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
        rest = (Bottleneck(outputs, outputs, 1) for _ in range(blocks - 1))
        return nn.Sequential(Bottleneck(inputs, outputs, 2), *rest)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return run_stages(self.bn1(self.conv1(images)), self.layer1, self.layer2, self.layer3)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [self.bn1, *(last_norm(stage[-1]) for stage in (self.layer1, self.layer2, self.layer3))]
