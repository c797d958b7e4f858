"""ResNets for CIFAR (He et al. 2016, arXiv:1512.03385, section 4.2); the benchmark's parameter names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, kaiming_fan_out, last_norm, run_stages


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution that keeps the size at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The skip connection where the shape changes: 1x1 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip, short of the last ReLU.

    (B, inputs, H, W) -> (B, width, H/stride, W/stride).
    """

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = projection(inputs, width, stride) if stride != 1 or inputs != width else None

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        residual += maps if self.downsample is None else self.downsample(maps)
        return residual


class ResNet(Network):
    """ResNet-(6n+2): a 3x3 stem and three stages of n basic blocks.

    Features at 32x32: (widths[0], 32, 32), (widths[1], 32, 32), (widths[2], 16, 16), (widths[3], 8, 8).
    """

    def __init__(self, *, depth: int, widths: Sequence[int], classes: int, channels: int) -> None:
        super().__init__()
        blocks, remainder = divmod(depth - 2, 6)
        assert remainder == 0, f"a CIFAR ResNet has 6n+2 layers, not {depth}"
        self.conv1 = conv3x3(channels, widths[0])
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.layer1 = self._stage(widths[0], widths[1], blocks, stride=1)
        self.layer2 = self._stage(widths[1], widths[2], blocks, stride=2)
        self.layer3 = self._stage(widths[2], widths[3], blocks, stride=2)
        self.fc = nn.Linear(widths[3], classes)
        kaiming_fan_out(self)

    @staticmethod
    def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
        rest = (BasicBlock(width, width, 1) for _ in range(blocks - 1))
        return nn.Sequential(BasicBlock(inputs, width, stride), *rest)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return run_stages(self.bn1(self.conv1(images)), self.layer1, self.layer2, self.layer3)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [self.bn1, *(last_norm(stage[-1]) for stage in (self.layer1, self.layer2, self.layer3))]
