"""Inherited errors: which of the teacher's confusions students repeat, class by class."""

from __future__ import annotations

import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Cannot, Setting, again
from kd_experiments.reporting.figures.students import examine
from kd_experiments.reporting.figures.style import GREYS, broken, headline, ink, panels

MOST_CLASSES = 12


def draw(setting: Setting) -> Figure:
    """The teacher's mistakes on the test images, and beside them how many of those each method repeats."""
    exam = examine(setting)
    assert exam.teacher is not None
    classes, labels = exam.data.classes, exam.labels
    mistakes = confusions(exam.teacher, exam.teacher, labels)
    count = int(mistakes.sum())
    if count == 0:
        reason = f"the teacher is right on every test image ({setting.title}); a shorter training errs"
        raise Cannot(reason, again(setting.runs[0], "teacher.recipe.epochs=5"))
    shown = shown_classes(mistakes)
    size = max(3.2, 0.9 + 0.3 * len(shown))
    found = {f"teacher {exam.teacher_name}\n{count:,} mistakes": mistakes[None]}
    for pupils in exam.pupils:
        each = torch.stack([confusions(logits, exam.teacher, labels) for logits in pupils.logits.values()])
        shares = each.sum((1, 2)) / count * 100
        spread = f" ± {float(shares.std()):.1f}" if len(shares) > 1 else ""
        found[f"{broken(pupils.label, size - 0.3)}\nrepeats {float(shares.mean()):.1f}{spread} %"] = each
    shades = Normalize(0, float(mistakes.max()))
    figure, axes_of = panels(list(found), width=size, height=size + 0.5, extra=0.2)
    for place, (name, axes) in enumerate(axes_of.items()):
        draw_matrix(axes, found[name].mean(0)[shown][:, shown], shades)
        names = [exam.data.class_names[index] for index in shown]
        axes.set_xticks(range(len(shown)), names, rotation=90, fontsize=7)
        axes.set_yticks(range(len(shown)), names if place % 3 == 0 else [], fontsize=7)
        axes.set(title=name, xlabel="the teacher predicts", ylabel="true class" if place % 3 == 0 else "")
    figure.colorbar(
        ScalarMappable(shades, GREYS), ax=list(axes_of.values()), label="test images (mean over seeds)", shrink=0.8
    )
    some = f"; the {len(shown)} of {classes} classes with most mistakes" if len(shown) < classes else ""
    headline(
        figure,
        f"Inherited errors: the teacher's mistakes on {len(labels):,} test images, and which of them students repeat",
        f"numbers: images, mean over n seeds; ± sd{some}{'; ' * bool(exam.note)}{exam.note}",
        setting.title,
    )
    return figure


def confusions(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """How often the teacher takes class i for j and the student does too, (C, C) of logits (N, C) and labels (N,)."""
    classes = teacher.shape[1]
    says = teacher.argmax(1)
    same = (says != labels) & (student.argmax(1) == says)
    pairs = labels[same] * classes + says[same]
    return torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes).double()


def shown_classes(mistakes: Tensor) -> list[int]:
    """All classes if they fit, else those with most mistakes, on either side of a confusion."""
    involved = mistakes.sum(0) + mistakes.sum(1)
    return sorted(torch.argsort(involved, descending=True, stable=True)[:MOST_CLASSES].tolist())


def draw_matrix(axes: Axes, counts: Tensor, shades: Normalize) -> None:
    """Shades with the numbers printed; nothing where there is nothing."""
    axes.imshow(counts.numpy(), cmap=GREYS, norm=shades)
    for row, column in counts.nonzero().tolist():
        value = float(counts[row, column])
        text = f"{value:.0f}" if value >= 10 or value == round(value) else f"{value:.1f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=6.5, color=ink(shades, value))
    axes.grid(False)


KIND = Kind(
    name="inherited",
    needs="a teacher, and a student that was kept",
    overrides="--multirun method=none,kd seed=0,1,2",
    uses=lambda run: run.config.source != "peer",
    draw=draw,
    needs_teacher=True,
    evaluates=True,
)
