"""No distillation: the label is the only supervision."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from kd_experiments.distillers.base import DISTILLERS, DistillationBatch, Distiller


@DISTILLERS.register("none")
class NoDistiller(Distiller):
    """The baseline every method is compared with."""

    needs_source: ClassVar[bool] = False
    has_terms: ClassVar[bool] = False

    def forward(self, batch: DistillationBatch) -> dict[str, Tensor]:
        return {}
