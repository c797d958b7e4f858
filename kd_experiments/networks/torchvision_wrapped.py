"""torchvision's ImageNet networks, made to return an Output. Its published weight files load as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from kd_experiments.networks.base import Network, last_norm, pool


class Wrapped(Network):
    """Takes over the children of a torchvision model, hence its parameter names and its initialisation."""

    def __init__(self, *, model: str, classes: int, channels: int) -> None:
        super().__init__()
        original = torchvision.models.get_model(model, weights=None, num_classes=classes)
        for name, child in original.named_children():
            setattr(self, name, child)
        if channels != 3:
            self._replace_first_convolution(channels)

    def _replace_first_convolution(self, channels: int) -> None:
        old: Any
        name, old = next(pair for pair in self.named_modules() if isinstance(pair[1], nn.Conv2d))
        new = nn.Conv2d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)
        nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
        parent, _, attribute = name.rpartition(".")
        setattr(self.get_submodule(parent), attribute, new)


class TorchvisionResNet(Wrapped):
    """ResNet-18/34/50 (He et al. 2016, arXiv:1512.03385; the 50 strides in its 3x3 convolutions).

    Features at 224x224 (e = 1, or 4 for ResNet-50): (64, 112, 112), (64e, 56, 56), (128e, 28, 28),
    (256e, 14, 14), (512e, 7, 7).
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    maxpool: nn.MaxPool2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    fc: nn.Linear

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        before = self.bn1(self.conv1(images))
        maps = F.relu(before)
        yield before, maps
        maps = self.maxpool(maps)
        for stage in self._stages():
            before = _before_last_relu(stage[-1], stage[:-1](maps))
            maps = F.relu(before)
            yield before, maps

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [self.bn1, *(last_norm(stage[-1]) for stage in self._stages())]

    def _stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4


def _before_last_relu(block: BasicBlock | Bottleneck, maps: Tensor) -> Tensor:
    """What torchvision's residual block puts out, short of its last ReLU."""
    residual = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(maps)))))
    if isinstance(block, Bottleneck):
        residual = block.bn3(block.conv3(block.relu(residual)))
    residual += maps if block.downsample is None else block.downsample(maps)
    return residual


class TorchvisionMobileNet(Wrapped):
    """MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381) and V3 (Howard et al. 2019, arXiv:1905.02244).

    `stages` are the blocks after which a feature is taken: linear bottlenecks, whose feature and
    pre-activation are the same tensor. Features at 224x224: (32, 112, 112), (24, 56, 56), (32, 28, 28),
    (96, 14, 14), (320, 7, 7) for V2; (16, 112, 112), (24, 56, 56), (40, 28, 28), (112, 14, 14), (160, 7, 7)
    for V3 large.
    """

    features: nn.Sequential

    def __init__(self, *, model: str, stages: Sequence[int], classes: int, channels: int) -> None:
        super().__init__(model=model, classes=classes, channels=channels)
        self.ends = tuple(stages)
        cast(Any, self.features)[0][2].inplace = False  # it would overwrite the stem's pre-activation

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        convolution, norm, activation = cast(nn.Sequential, self.features[0])
        before = norm(convolution(images))
        maps = activation(before)
        yield before, maps
        for index, block in enumerate(self.features[1 : self.ends[-1] + 1], start=1):
            maps = block(maps)
            if index in self.ends:
                yield maps, maps

    def last_map(self, before: Tensor, maps: Tensor) -> Tensor:
        last: Tensor = self.features[self.ends[-1] + 1 :](maps)
        return last

    def embed(self, last_map: Tensor) -> Tensor:
        head = self._modules["classifier"]  # under this name Network gives out the last layer alone
        assert isinstance(head, nn.Sequential)
        embedding: Tensor = head[:-1](pool(last_map))
        return embedding

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        return [last_norm(self.features[index]) for index in (0, *self.ends)]
