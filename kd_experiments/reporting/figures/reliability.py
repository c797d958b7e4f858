"""Reliability diagrams: how often predictions of a given confidence are right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Setting
from kd_experiments.reporting.figures.students import examine
from kd_experiments.reporting.figures.style import broken, headline, panels
from kd_experiments.training.evaluation import CALIBRATION_BINS, calibration_error

FEWEST = 5  # predictions in a bin that says something


@dataclass(frozen=True)
class Reliability:
    """Of predictions in bins of confidence: share of all, share that is right (nan in a bin of few), and the ECE."""

    share: np.ndarray  # (bins,)
    right: np.ndarray  # (bins,)
    error: float


def draw(setting: Setting) -> Figure:
    """A panel for the teacher and one for each method; outlined: where the bar should end."""
    exam = examine(setting)
    subjects = {} if exam.teacher is None else {f"teacher {exam.teacher_name} (n = 1)": [exam.teacher]}
    subjects |= {pupils.label: list(pupils.logits.values()) for pupils in exam.pupils}
    figure, axes_of = panels(list(subjects), width=3.3, height=3.0, extra=0.5)
    for place, (name, axes) in enumerate(axes_of.items()):
        found = [reliability(logits, exam.labels) for logits in subjects[name]]
        draw_bars(axes, found)
        errors = [each.error * 100 for each in found]
        spread = f" ± {np.std(errors, ddof=1):.2f}" if len(errors) > 1 else ""
        axes.set(title=f"{broken(name, 3)}\nECE {np.mean(errors):.2f}{spread} %", xlabel="confidence [%]")
        axes.set_ylabel("right predictions [%]" if place % 3 == 0 else "")
    handles, labels = next(reversed(axes_of.values())).get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    headline(
        figure,
        f"Reliability on {len(exam.labels):,} test images",
        f"{CALIBRATION_BINS} bins, without those of fewer than {FEWEST} predictions; mean over n seeds, bars and ±: sd"
        f"{'; ' * bool(exam.note)}{exam.note}",
        setting.title,
    )
    return figure


def reliability(logits: Tensor, labels: Tensor, bins: int = CALIBRATION_BINS) -> Reliability:
    """Of logits (N, C) and labels (N,), in the same bins as the expected calibration error, which counts them all."""
    probabilities = torch.softmax(logits, 1)
    confidence, predicted = probabilities.max(1)
    bin_of = (confidence * bins).long().clamp(0, bins - 1)
    count = torch.bincount(bin_of, minlength=bins).double()
    right = torch.bincount(bin_of, (predicted == labels).double(), minlength=bins)
    error = float(calibration_error(probabilities, labels, bins))
    return Reliability((count / len(labels)).numpy(), (right / count).where(count >= FEWEST, torch.nan).numpy(), error)


def draw_bars(axes: Axes, found: list[Reliability]) -> None:
    """Bars of the share that is right, the diagonal, and a line for how many predictions a bin holds."""
    bins = len(found[0].share)
    edges = np.linspace(0, 100, bins + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    right = np.stack([each.right for each in found]) * 100
    measured = (~np.isnan(right)).sum(0)
    some = measured > 0
    mean = np.nanmean(right[:, some], axis=0)
    look: Any = {"width": 100 / bins, "edgecolor": "black", "linewidth": 0.6}
    axes.bar(centres[some], mean, color="0.75", label="right", **look)
    gap: Any = {"facecolor": "none", "hatch": "//////"}
    axes.bar(centres[some], centres[some] - mean, bottom=mean, label="gap to the middle of the bin", **gap, **look)
    several = measured[some] > 1
    if several.any():
        deviation = np.nanstd(right[:, some][:, several], axis=0, ddof=1)
        axes.errorbar(centres[some][several], mean[several], deviation, fmt="none", ecolor="black", capsize=2)
    axes.plot([0, 100], [0, 100], color="black", linestyle="--", linewidth=1, label="calibrated")
    share = np.stack([each.share for each in found]).mean(0) * 100
    axes.step(centres, share, where="mid", color="black", linestyle=":", label="share of the predictions [%]")
    axes.set(xlim=(0, 100), ylim=(0, 100))


KIND = Kind(
    name="reliability",
    needs="a student that was kept",
    overrides="--multirun method=none,kd seed=0,1,2",
    uses=lambda run: True,
    draw=draw,
    evaluates=True,
)
