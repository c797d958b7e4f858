"""Influence scores of the training images: how they are distributed, and which images are at the ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator
from torch import Tensor

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Run, Setting
from kd_experiments.reporting.figures.style import picture
from kd_experiments.reporting.figures.teacher import label_text, predictions, teacher_of
from kd_experiments.supervision.selection import Influence, TracIn, scoring_key
from kd_experiments.teachers.obtain import Teacher

THUMBNAILS = 8
BINS = 60
LONG_TAIL = 30  # largest over median absolute score


def draw(setting: Setting) -> Figure:
    """Histogram above; the most and the least helpful images below."""
    run = commonest_ratio(setting.runs)
    teacher = teacher_of(run)
    scores = teacher.selection_scores()
    selection = run.config.selection
    taught = selection.mask(scores)
    is_reversed = isinstance(selection, Influence) and selection.reversed
    scores = -scores if is_reversed else scores
    order = torch.argsort(scores, stable=True)
    count = min(THUMBNAILS, len(order) // 2)

    figure = Figure(figsize=(10, 6.6), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[1.25, 1.5]).flat
    histogram(above.subplots(), scores.numpy(), taught.numpy(), selection.ratio)
    axes = below.subplots(2, count)
    rows = {"most helpful": order[:count], "least helpful": order.flip(0)[:count]}
    for row, (caption, samples) in zip(axes, rows.items(), strict=True):
        thumbnails(row, teacher, samples, scores)
        row[0].set_ylabel(caption, fontsize=9)
    figure.suptitle(
        f"Influence of training images on the validation loss ({describe(run)})\n{setting.title}; n = 1 teacher"
    )
    return figure


def commonest_ratio(runs: Sequence[Run]) -> Run:
    """The first run with the ratio that most runs select at (the lowest of equals)."""
    counts = Counter(run.config.selection.ratio for run in runs)
    return min(runs, key=lambda run: (-counts[run.config.selection.ratio], run.config.selection.ratio, run.folder.name))


def describe(run: Run) -> str:
    given = run.config.given["selection"]
    details = [f"{key} {given[key]}" for key in ("hessian", "damping") if key in given]
    details += ["reversed"] if given.get("reversed") else []
    return ", ".join([f"{run.method}: selection {given['name']}", *details])


def histogram(axes: Axes, scores: np.ndarray, taught: np.ndarray, ratio: float) -> None:
    """Counts of selected and other images."""
    edges = score_axis(axes, scores)
    axes.hist(
        [scores[taught], scores[~taught]],
        bins=list(edges),
        stacked=True,
        color=["0.55", "white"],
        edgecolor="black",
        linewidth=0.5,
        hatch=["", "/////"],
        label=[f"selected ({taught.sum():,} images)", f"not selected ({(~taught).sum():,} images)"],
    )
    if taught.any() and not taught.all():
        threshold = scores[taught].max() if scores[taught].max() <= scores[~taught].min() else scores[taught].min()
        axes.axvline(threshold, color="black", linestyle="--", label=f"ratio {ratio:g}: the last one selected")
    axes.set_xlabel("influence score I (negative: learning the image lowers the validation loss)")
    axes.set_ylabel("training images")
    axes.legend(loc="upper left")


def score_axis(axes: Axes, scores: np.ndarray) -> np.ndarray:
    """Choose the axis and return the bins' edges.

    Where most scores are near zero and a few far away, the axis is linear around zero and logarithmic beyond.
    """
    near, far = float(np.quantile(np.abs(scores), 0.5)), float(np.abs(scores).max())
    if near == 0 or far < LONG_TAIL * near:
        return np.histogram_bin_edges(scores, BINS)
    place = np.arcsinh(scores / near)  # bins of equal width on the axis' own scale
    edges = near * np.sinh(np.linspace(place.min(), place.max(), BINS + 1))
    edges[0], edges[-1] = min(edges[0], scores.min()), max(edges[-1], scores.max())
    powers = 10.0 ** np.arange(np.ceil(np.log10(2 * near)), np.log10(far))
    axes.set_xscale("asinh", linear_width=near)
    axes.xaxis.set_major_locator(FixedLocator([*-powers[::-1], 0.0, *powers]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: minus(f"{value:g}"))
    axes.set_xlim(edges[0], edges[-1])
    return edges


def minus(number: str) -> str:
    """A number with a minus sign instead of a hyphen."""
    return number.replace("-", "−")


def thumbnails(row: Sequence[Axes], teacher: Teacher, samples: Tensor, scores: Tensor) -> None:
    """Images with their score, label and the teacher's prediction."""
    data = teacher.data
    predicted = predictions(teacher.network, data, samples).logits.argmax(1).tolist()
    for axes, sample, prediction in zip(row, samples.tolist(), predicted, strict=True):
        picture(axes, data.train.images[sample])
        right = prediction == int(data.train.labels[sample])
        lines = [
            minus(f"I = {float(scores[sample]):.2g}"),
            f"label: {label_text(data, sample)}",
        ]
        lines.append(f"teacher: {'right' if right else data.class_names[prediction]}")
        axes.set_title("\n".join(lines), fontsize=7.5)


def aspect(run: Run) -> str:
    """Runs share a figure if they share the scores; reversed selection only takes them the other way round."""
    return scoring_key(run.config.selection).replace("reversed=True", "reversed=False")


KIND = Kind(
    name="influence",
    needs="selection=influence or selection=tracin",
    overrides="method=lrds",
    uses=lambda run: run.config.source == "teacher" and isinstance(run.config.selection, Influence | TracIn),
    draw=draw,
    evaluates=True,
    aspect=aspect,
)
