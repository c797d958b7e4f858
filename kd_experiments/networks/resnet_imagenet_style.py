"""ImageNet's ResNet-18/34/50 (He et al. 2016, arXiv:1512.03385) with a 3x3 stem for small images.

Parameter names are the public benchmark's (`shortcut`, `linear`), which differ from its CIFAR ResNets'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, kaiming_fan_out, last_norm, run_stages
from kd_experiments.networks.resnet import conv3x3, projection


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a skip, short of the last ReLU.

    (B, inputs, H, W) -> (B, width, H/stride, W/stride).
    """

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, width, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width)
        self.bn2 = nn.BatchNorm2d(width)
        same_shape = stride == 1 and inputs == width
        self.shortcut = nn.Identity() if same_shape else projection(inputs, width, stride)

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        residual = self.bn2(self.conv2(residual))
        residual += self.shortcut(maps)
        return residual


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a skip, short of the last ReLU; puts out 4 * width channels."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = self.expansion * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        same_shape = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same_shape else projection(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        residual = F.relu(self.bn1(self.conv1(maps)), inplace=True)
        residual = F.relu(self.bn2(self.conv2(residual)), inplace=True)
        residual = self.bn3(self.conv3(residual))
        residual += self.shortcut(maps)
        return residual


BLOCKS: dict[str, type[BasicBlock] | type[Bottleneck]] = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}


class ResNet(Network):
    """A 3x3 stem and four stages of the given numbers of blocks.

    Features at 32x32 (e = 1 for BasicBlock, 4 for Bottleneck): (64, 32, 32), (64e, 32, 32), (128e, 16, 16),
    (256e, 8, 8), (512e, 4, 4).
    """

    def __init__(self, *, block: str, blocks: Sequence[int], classes: int, channels: int) -> None:
        super().__init__()
        kind = BLOCKS[block]
        self.conv1 = conv3x3(channels, 64)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = self._stage(kind, 64, 64, blocks[0], stride=1)
        self.layer2 = self._stage(kind, 64 * kind.expansion, 128, blocks[1], stride=2)
        self.layer3 = self._stage(kind, 128 * kind.expansion, 256, blocks[2], stride=2)
        self.layer4 = self._stage(kind, 256 * kind.expansion, 512, blocks[3], stride=2)
        self.linear = nn.Linear(512 * kind.expansion, classes)
        kaiming_fan_out(self)

    @staticmethod
    def _stage(
        kind: type[BasicBlock] | type[Bottleneck], inputs: int, width: int, blocks: int, stride: int
    ) -> nn.Sequential:
        rest = (kind(width * kind.expansion, width, 1) for _ in range(blocks - 1))
        return nn.Sequential(kind(inputs, width, stride), *rest)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return run_stages(self.bn1(self.conv1(images)), *self._stages())

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [self.bn1, *(last_norm(stage[-1]) for stage in self._stages())]

    def _stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4
