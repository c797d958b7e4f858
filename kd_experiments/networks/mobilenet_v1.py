"""MobileNet for ImageNet (Howard et al. 2017, arXiv:1704.04861); the benchmark's parameter names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.networks.base import Network, last_norm

# (channels, stride) of the depthwise-separable blocks
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
STAGE_ENDS = (0, 3, 5, 11, 13)


def separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution, each with batch norm and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, padding=1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class MobileNetV1(Network):
    """A 3x3 stem and thirteen separable blocks; size 1/32 at the end.

    Features at 224x224: (32, 112, 112), (128, 56, 56), (256, 28, 28), (512, 14, 14), (1024, 7, 7).
    """

    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Sequential(
                nn.Conv2d(channels, 32, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(32),
                nn.ReLU(inplace=True),
            )
        )
        inputs = 32
        for outputs, stride in BLOCKS:
            self.model.append(separable(inputs, outputs, stride))
            inputs = outputs
        self.fc = nn.Linear(inputs, classes)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        maps = images
        for index, block in enumerate(self.model):
            if index in STAGE_ENDS:
                before = cast(nn.Sequential, block)[:-1](maps)
                maps = F.relu(before)
                yield before, maps
            else:
                maps = block(maps)

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [last_norm(self.model[index]) for index in STAGE_ENDS]
