"""What every network returns and the few things a distiller may ask of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Output(NamedTuple):
    """One forward pass; stage 0 is the stem, the deeper stages follow.

    logits          (B, C)
    features        stage outputs, (B, C_k, H_k, W_k) each: after the ReLU where a stage ends in one, the raw
                    sum or linear bottleneck where it does not (wide ResNets, MobileNetV2)
    preactivations  the same stages before that ReLU, same shapes
    embedding       (B, D), the pooled vector the classifier reads: `logits = classifier(embedding)`
    last_map        (B, D, H, W), whose mean over places is the embedding; None where layers stand between them
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    preactivations: tuple[Tensor, ...]
    embedding: Tensor
    last_map: Tensor | None = None

    def each(self, change: Callable[[Tensor], Tensor]) -> Output:
        """The same output with every tensor changed."""
        return Output(
            change(self.logits),
            tuple(map(change, self.features)),
            tuple(map(change, self.preactivations)),
            change(self.embedding),
            None if self.last_map is None else change(self.last_map),
        )


class Network(nn.Module):
    """An image classifier: (B, channels, H, W) -> Output.

    Its last child module is the classifier: a Linear, or a Sequential that ends in one. A family defines `stages`,
    `last_map` where more stands before the pooling and `embed` where more stands behind it; a network that defines
    `forward` alone does as well, but always computes everything.
    """

    input_shape: tuple[int, int, int] = (3, 32, 32)
    """(channels, height, width) it was built for; any size is accepted all the same."""

    def forward(self, images: Tensor) -> Output:
        before, features = zip(*self.stages(images), strict=True)
        last_map = self.last_map(before[-1], features[-1])
        embedding = self.embed(last_map)
        pooled = type(self).embed is Network.embed
        return Output(self.classifier(embedding), features, before, embedding, last_map if pooled else None)

    def stages(self, images: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each stage's pre-activation and output, the stem's first, computed when it is asked for."""
        raise NotImplementedError

    def last_map(self, before: Tensor, maps: Tensor) -> Tensor:
        """What is pooled, (B, D', H, W), from the last stage's pre-activation and output."""
        return maps

    def embed(self, last_map: Tensor) -> Tensor:
        """The pooled vector (B, D)."""
        return pool(last_map)

    def up_to(self, images: Tensor, stage: int) -> Output:
        """As `forward`, but nothing behind `stage` is computed: there all is empty, (B, 0, 0, 0) or (B, 0). The stage
        after the last is everything.
        """
        if type(self).stages is Network.stages or stage == len(self.preactivation_norms()):
            return self(images)
        known = list(islice(self.stages(images), stage + 1))
        nothing = known[0][0].new_empty(len(images), 0)
        missing = [nothing[:, :, None, None]] * (len(self.preactivation_norms()) - len(known))
        before, features = zip(*known, strict=True)
        return Output(nothing, (*features, *missing), (*before, *missing), nothing)

    if TYPE_CHECKING:

        def __call__(self, images: Tensor) -> Output: ...

    @property
    def classifier(self) -> nn.Linear:
        """The linear layer that turns the embedding into logits."""
        head = next(reversed(self._modules.values()))
        while isinstance(head, nn.Sequential):
            head = head[-1]
        assert isinstance(head, nn.Linear)
        return head

    def preactivation_norms(self) -> list[nn.BatchNorm2d | None]:
        """For each stage the batch norm its pre-activation ends in, before a skip is added; None without one.

        Heo et al. 2019 (arXiv:1904.01866) read their margins off these.
        """
        raise NotImplementedError

    def feature_shapes(self) -> list[tuple[int, int, int]]:
        """(C_k, H_k, W_k) of each stage at `input_shape`; leaves mode and running statistics as they were."""
        mode = self.training
        reference = next(self.parameters())
        images = torch.zeros(1, *self.input_shape, dtype=reference.dtype, device=reference.device)
        with torch.no_grad():
            features = self.eval()(images).features
        self.train(mode)
        return [(maps.shape[1], maps.shape[2], maps.shape[3]) for maps in features]


def run_stages(before: Tensor, *stages: nn.Sequential) -> Iterator[tuple[Tensor, Tensor]]:
    """The stem, given its pre-activation, and stages of blocks that stop short of their last ReLU."""
    maps = F.relu(before)
    yield before, maps
    for *inner, last in stages:
        for block in inner:
            maps = F.relu(block(maps), inplace=True)
        before = last(maps)
        maps = F.relu(before)
        yield before, maps


def last_norm(block: nn.Module) -> nn.BatchNorm2d:
    """The batch norm that ends a block's main path, not the one of its skip connection."""
    norms = {name: module for name, module in block.named_modules() if isinstance(module, nn.BatchNorm2d)}
    return [norm for name, norm in norms.items() if not name.startswith(("downsample", "shortcut"))][-1]


def pool(maps: Tensor) -> Tensor:
    """Global average pooling of any size, (B, C, H, W) -> (B, C)."""
    return maps.mean((2, 3))


def kaiming_fan_out(network: nn.Module) -> None:
    """Initialise convolutions as the public CIFAR benchmark does, N(0, 2 / (k² C_out)) and bias 0.

    He et al. 2015, arXiv:1502.01852.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
