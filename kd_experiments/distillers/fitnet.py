"""FitNets (Romero et al., "FitNets: hints for thin deep nets", ICLR 2015), trained in one stage."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller, Needs
from kd_experiments.distillers.features import Regressor, per_sample_mean, source_of, stage
from kd_experiments.networks import Output
from kd_experiments.supervision.precision import full_precision


@full_precision
def hint(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean of (r(f^s) - f^t)^2 over channels and places, (B, C, H, W) -> (B,); `student` is regressed already."""
    return per_sample_mean((student - teacher).square())


@DISTILLERS.register("fitnet")
class FitNet(Distiller):
    """A middle stage of the student is regressed onto the teacher's; stage 0 is the stem, -1 the last one."""

    needs: ClassVar[Needs] = "features"
    fewest_stages: ClassVar[int] = 1

    def __init__(self, stage: int) -> None:
        super().__init__()
        self.stage = stage

    def build_modules(self, student: Output, source: Output) -> None:
        guided = stage(student.features, self.stage, "fitnet", "student")
        self.regressor = Regressor(guided, stage(source.features, self.stage, "fitnet", "teacher"), relu=True)

    def deepest_stage(self, stages: int, initialising: bool) -> int | None:
        return range(stages)[self.stage]

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        guided = self.regressor(batch.student.features[self.stage])
        return {"hint": batch.weights.mean(hint(guided, source_of(batch).features[self.stage]))}
