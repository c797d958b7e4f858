"""Wide ResNets (Zagoruyko and Komodakis 2016, arXiv:1605.07146); the benchmark's parameter names.

A wide ResNet normalises *before* it convolves: a stage ends in a raw sum, and the batch norm and ReLU that
follow belong to the next stage. So the features are these raw sums, and the pre-activation of a stage is what
the next stage's first batch norm makes of it, picked up on the way and never computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, kaiming_fan_out
from kd_experiments.networks.resnet import conv3x3


class Block(nn.Module):
    """Twice norm, ReLU and 3x3 convolution, and a skip.

    (B, inputs, H, W) -> (B, outputs, H/stride, W/stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else None

    def forward(self, maps: Tensor) -> Tensor:
        return self.after_norm(maps, F.relu(self.bn1(maps), inplace=True))

    def after_norm(self, maps: Tensor, activated: Tensor) -> Tensor:
        """The block's output, given its input and `relu(bn1(input))`."""
        residual = self.conv1(activated)
        residual = self.conv2(F.relu(self.bn2(residual), inplace=True))
        residual += maps if self.convShortcut is None else self.convShortcut(activated)
        return residual


class Stage(nn.Module):
    """A run of blocks, the first of which changes width and size."""

    def __init__(self, inputs: int, outputs: int, blocks: int, stride: int) -> None:
        super().__init__()
        rest = (Block(outputs, outputs, 1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(Block(inputs, outputs, stride), *rest)

    @property
    def first(self) -> Block:
        return cast(Block, self.layer[0])

    def forward(self, maps: Tensor, normalised: Tensor) -> Tensor:
        """This stage's output, given the preceding stage's and that one's pre-activation (its output, normalised)."""
        _, *rest = self.layer
        maps = self.first.after_norm(maps, F.relu(normalised))
        for block in rest:
            maps = block(maps)
        return maps


class WideResNet(Network):
    """WRN-(6n+4)-k: a 3x3 stem and three stages of n blocks, 16k, 32k and 64k wide.

    Features at 32x32: (16, 32, 32), (16k, 32, 32), (32k, 16, 16), (64k, 8, 8).
    """

    def __init__(self, *, depth: int, factor: int, classes: int, channels: int) -> None:
        super().__init__()
        blocks, remainder = divmod(depth - 4, 6)
        assert remainder == 0, f"a wide ResNet has 6n+4 layers, not {depth}"
        self.conv1 = conv3x3(channels, 16)
        self.block1 = Stage(16, 16 * factor, blocks, stride=1)
        self.block2 = Stage(16 * factor, 32 * factor, blocks, stride=2)
        self.block3 = Stage(32 * factor, 64 * factor, blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * factor)
        self.fc = nn.Linear(64 * factor, classes)
        kaiming_fan_out(self)
        nn.init.zeros_(self.fc.bias)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        maps = self.conv1(images)
        for stage in (self.block1, self.block2, self.block3):
            before = stage.first.bn1(maps)
            yield before, maps
            maps = stage(maps, before)
        yield self.bn1(maps), maps

    def last_map(self, before: Tensor, maps: Tensor) -> Tensor:
        return F.relu(before)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [self.block1.first.bn1, self.block2.first.bn1, self.block3.first.bn1, self.bn1]
