"""How students see classes as alike: the difference of their class correlations from the teacher's."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from torch import Tensor

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Setting
from kd_experiments.reporting.figures.students import examine
from kd_experiments.reporting.figures.style import GREYS, broken, headline, ink, panels

MOST_PRINTED = 12  # classes whose numbers have room
MOST_NAMES = 20  # classes that are named at the axes


def draw(setting: Setting) -> Figure:
    """A panel a method, all on one scale: white where student and teacher agree."""
    exam = examine(setting)
    assert exam.teacher is not None
    teacher = class_correlation(exam.teacher)
    found = {
        pupils.label: torch.stack([(class_correlation(logits) - teacher).abs() for logits in pupils.logits.values()])
        for pupils in exam.pupils
    }
    highest = max(float(each.mean(0).max()) for each in found.values())
    shades = PowerNorm(0.5, 0, highest)  # the taught are far closer than the untaught
    figure, axes_of = panels(list(found), width=3.4, height=4.1, extra=0.2)
    classes = exam.data.classes
    for place, (name, axes) in enumerate(axes_of.items()):
        each = off_diagonal(found[name])
        spread = f" ± {float(each.std()):.3f}" if len(each) > 1 else ""
        axes.imshow(found[name].mean(0).numpy(), cmap=GREYS, norm=shades)
        axes.set_title(f"{broken(name, 3)}\nmean difference {float(each.mean()):.3f}{spread}")
        axes.grid(False)
        if classes <= MOST_PRINTED:
            for row, column in np.ndindex(classes, classes):
                value = float(found[name].mean(0)[row, column])
                text = f"{value:.2f}".lstrip("0") if row != column else ""
                axes.text(column, row, text, ha="center", va="center", fontsize=6, color=ink(shades, value))
        if classes <= MOST_NAMES:
            axes.set_xticks(range(classes), exam.data.class_names, rotation=90, fontsize=7)
            axes.set_yticks(range(classes), exam.data.class_names if place % 3 == 0 else [], fontsize=7)
        else:
            axes.set_xlabel("class")
            axes.set_ylabel("class" if place % 3 == 0 else "")
    label = "|correlation of the student − correlation of the teacher|"
    figure.colorbar(ScalarMappable(shades, GREYS), ax=list(axes_of.values()), label=label, shrink=0.8)
    headline(
        figure,
        f"Class-by-class correlations of the logits on {len(exam.labels):,} test images: student against teacher",
        f"mean over n seeds, ± sd; lower is more alike{'; ' * bool(exam.note)}{exam.note}",
        setting.title,
    )
    return figure


def class_correlation(logits: Tensor) -> Tensor:
    """Pearson's correlations over the images between the logits of any two classes, (C, C) of (N, C)."""
    return torch.from_numpy(np.corrcoef(logits.double().numpy(), rowvar=False))


def off_diagonal(differences: Tensor) -> Tensor:
    """Mean over pairs of different classes, (n,) of (n, C, C)."""
    classes = differences.shape[-1]
    return differences.sum((1, 2)) / (classes * (classes - 1))  # the diagonal's differences are 0


KIND = Kind(
    name="similarity",
    needs="a teacher, and a student that was kept",
    overrides="--multirun method=none,kd seed=0,1,2",
    uses=lambda run: run.config.source != "peer",
    draw=draw,
    needs_teacher=True,
    evaluates=True,
)
