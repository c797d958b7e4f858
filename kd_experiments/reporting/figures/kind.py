"""What every figure declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from kd_experiments.reporting.figures.runs import Run, Setting


@dataclass(frozen=True)
class Kind:
    """One figure a setting; `draw` raises `Cannot` where the setting lacks something."""

    name: str
    needs: str  # what a run must be like to be used, for the message when there is none
    overrides: str  # of a run that fills the figure
    uses: Callable[[Run], bool]
    draw: Callable[[Setting], Figure]
    aspect: Callable[[Run], str] | None = None  # runs of different aspects go to different figures
    needs_teacher: bool = False  # settings without one are passed over
    evaluates: bool = False  # networks, which takes time: fewer settings are drawn then
