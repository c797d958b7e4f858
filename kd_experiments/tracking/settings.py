"""`tracking.*`: Weights & Biases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrackingConfig:
    """Who is told of a run besides its folder."""

    mode: Literal["disabled", "offline", "online"]
    project: str
    entity: str | None
    group: str | None
    tags: tuple[str, ...]
    artifact: bool  # send the student's file, too
