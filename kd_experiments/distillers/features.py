"""What feature distillers share: which maps are compared, and how they are made comparable."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.base import DistillationBatch
from kd_experiments.errors import UserError
from kd_experiments.networks import Output


def source_of(batch: DistillationBatch) -> Output:
    """The source's whole output, without gradient."""
    output = batch.targets.output
    assert output is not None, "a distiller that needs more than logits is given it"
    return output.each(Tensor.detach)


def deepest(student: Sequence[Tensor], source: Sequence[Tensor], stem: bool = False) -> list[tuple[Tensor, Tensor]]:
    """Pairs of maps (student, source) of the deepest stages that both networks have; the stem only if asked for.

    (B, C_k, H_k, W_k) each. Networks of different depth are matched from the end, as in the public benchmark [code].
    """
    first = 0 if stem else 1
    count = min(len(student), len(source)) - first
    return list(zip(student[-count:], source[-count:], strict=True))


def stage(maps: Sequence[Tensor], number: int, method: str, who: str) -> Tensor:
    """Maps of stage `number` (0 is the stem, -1 the last stage); UserError where the network has no such stage."""
    if not -len(maps) <= number < len(maps):
        raise UserError(f"method.stage={number}: the {who} of method={method} has the stages 0 to {len(maps) - 1} only")
    return maps[number]


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Pool the larger of two maps (B, C, H, W) to the height and width of the smaller one."""
    height, width = min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])
    return pool_to(a, height, width), pool_to(b, height, width)


def pool_to(maps: Tensor, height: int, width: int) -> Tensor:
    """Average pooling to a given size; maps that have it come back untouched."""
    return maps if maps.shape[2:] == (height, width) else F.adaptive_avg_pool2d(maps, (height, width))


def per_sample_mean(values: Tensor) -> Tensor:
    """Mean over all but the batch, (B, ...) -> (B,)."""
    return values.flatten(1).mean(1)


class Regressor(nn.Module):
    """Student maps (B, C_s, H_s, W_s) -> maps of the source's shape (B, C_t, H_t, W_t), a convolution and batch norm.

    The convolution is the public benchmark's [code]: strided where the student's maps are twice as large, transposed
    where they are half as large, otherwise just large enough a kernel; maps that are smaller by another factor are
    enlarged first [ours].
    """

    def __init__(self, student: Tensor, source: Tensor, relu: bool) -> None:
        super().__init__()
        (inputs, height, width), (outputs, *size) = student.shape[1:], source.shape[1:]
        self.enlarge: tuple[int, int] | None = None
        self.convolution: nn.Module
        if [height, width] == [2 * size[0], 2 * size[1]]:
            self.convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        elif [2 * height, 2 * width] == size:
            self.convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
        else:
            if height < size[0] or width < size[1]:
                height, width = max(height, size[0]), max(width, size[1])
                self.enlarge = (height, width)
            self.convolution = nn.Conv2d(inputs, outputs, (1 + height - size[0], 1 + width - size[1]))
        self.norm = nn.BatchNorm2d(outputs)
        self.relu = relu

    def forward(self, maps: Tensor) -> Tensor:
        if self.enlarge is not None:
            maps = F.interpolate(maps, self.enlarge, mode="nearest")
        maps = self.norm(self.convolution(maps))
        return F.relu(maps) if self.relu else maps
