"""Scale decoupled distillation (Wei, Luo and Luo, CVPR 2024, arXiv 2403.13512), around any loss of single samples.

The idea and L = D_con + beta * D_com are [paper]; form and defaults are the authors' code's [code].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, LogitDistiller, Needs, refuse_empty
from kd_experiments.distillers.features import source_of
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, Output
from kd_experiments.schema import Count, NonNegative
from kd_experiments.supervision.temperature import standardise


def region_logits(maps: Tensor, scales: Sequence[int], weight: Tensor, bias: Tensor | None) -> Tensor:
    """The classifier's logits for every region of the last map, (B, D, H, W) -> (B, R, C), R = sum of scale^2.

    The regions of scale s are average-pooled to s x s, row by row. They are pooled from the map itself; the public
    code pools all from 4 x 4, which differs where 4 does not divide the map's size. A map smaller than s is repeated.
    """
    pooled = torch.cat([F.adaptive_avg_pool2d(maps, scale).flatten(2) for scale in scales], 2)
    return F.linear(pooled.mT, weight, bias)


def _classifier(network: Network) -> tuple[nn.Linear]:
    return (network.classifier,)  # a tuple hides the network's module from this one


@DISTILLERS.register("sdd")
class SDD(LogitDistiller):
    """`host`'s loss in every region; `complementary_weight` where the teacher is right there but not globally, or the
    other way round. Weights are not normalised: more disagreement is a larger loss [code].

    A region has its sample's temperatures; what the teacher says there is revised like what it says of the whole image
    [ours].
    """

    term: ClassVar[str] = "sdd"
    needs: ClassVar[Needs] = "features"
    fewest_stages: ClassVar[int] = 0
    reads_last_map: ClassVar[bool] = True
    uses_temperature: ClassVar[bool] = True

    def __init__(
        self,
        scales: tuple[Count, ...],
        complementary_weight: NonNegative,
        host: Annotated[Distiller, DISTILLERS],
    ) -> None:
        super().__init__()
        refuse_empty("method.scales", scales, "[1,2,4]")
        if not isinstance(host, LogitDistiller) or host.needs != "logits" or not host.needs_source:
            raise UserError(
                "method.host.name: it has no loss for each sample's logits, which regions could have too; choose one "
                "such as method.host.name=kd"
            )
        self.scales = scales
        self.complementary_weight = complementary_weight
        self.host = host

    def inspect_networks(self, student: Network, source: Network) -> None:
        self.student_head, self.source_head = _classifier(student), _classifier(source)
        self.host.inspect_networks(student, source)

    def inspect_labels(self, labels: Tensor, classes: int) -> None:
        self.host.inspect_labels(labels, classes)

    def build_modules(self, student: Output, source: Output) -> None:
        self.host.build_modules(student, source)

    def deepest_stage(self, stages: int, initialising: bool) -> int | None:
        return stages  # beyond them all: the map that is pooled

    def per_sample(self, batch: DistillationBatch) -> Tensor:
        student = self._regions(batch.student.last_map, self.student_head[0])
        with torch.no_grad():
            teacher = self._regions(source_of(batch).last_map, self.source_head[0])
        samples, regions = student.shape[:2]
        labels = batch.labels.repeat_interleave(regions)
        targets = replace(batch.targets, raw_logits=teacher.flatten(0, 1), labels=labels, output=None)
        logits = standardise(student.flatten(0, 1)) if targets.standardised else student.flatten(0, 1)
        regional = replace(
            batch,
            student=Output(logits, (), (), logits),
            targets=targets,
            labels=labels,
            index=batch.index.repeat_interleave(regions),
            temperature=batch.temperature.repeated(regions),
        )
        losses = self.host.per_sample(regional).view(samples, regions)
        complementary = targets.wrong.view(samples, regions) != batch.targets.wrong[:, None]
        return torch.where(complementary, self.complementary_weight, 1.0).mul(losses).mean(1)

    def _regions(self, maps: Tensor | None, head: nn.Linear) -> Tensor:
        assert maps is not None, "checked when the parts were built"
        return region_logits(maps, self.scales, head.weight, head.bias)
