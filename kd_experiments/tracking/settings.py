"""`tracking.*`: who is told of a run besides its folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kd_experiments.schema import Registry


@dataclass(frozen=True)
class TrackingConfig:
    """What every tracker has."""

    mode: Literal["disabled", "offline", "online"]


TRACKINGS: Registry[TrackingConfig] = Registry("tracking")


@TRACKINGS.register("wandb")
@dataclass(frozen=True)
class WandbConfig(TrackingConfig):
    """Weights & Biases."""

    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    artifact: bool  # send the student's file, too


@TRACKINGS.register("tensorboard")
@dataclass(frozen=True)
class TensorBoardConfig(TrackingConfig):
    """TensorBoard, whose files lie below the results folder."""

    mode: Literal["disabled", "offline"]
