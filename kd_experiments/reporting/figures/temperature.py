"""The per-sample temperatures of DTD early, in the middle and late in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from kd_experiments import files
from kd_experiments.data.dataset import Data
from kd_experiments.networks import build
from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Cannot, Run, Setting, Variant, again, variants
from kd_experiments.reporting.figures.style import COLOURS, legend_below
from kd_experiments.reporting.figures.teacher import predictions, teacher_of
from kd_experiments.supervision.revision import Revision, wrong_rows
from kd_experiments.supervision.temperature import DynamicTemperature, Temperature, drawn
from kd_experiments.teachers.obtain import on_device

BINS = 40


@dataclass(frozen=True)
class Moment:
    """The temperatures after an epoch, (seeds, N)."""

    epoch: int
    temperatures: Tensor


def draw(setting: Setting) -> Figure:
    """A row for each variant of DTD, a column for each moment."""
    kept = [run for run in setting.runs if any(run.folder.glob("snapshot-*.pt"))]
    if not kept:
        reason = f"no students were kept along the training ({setting.title})"
        raise Cannot(reason, again(setting.runs[0], "snapshots=2"))
    teacher = teacher_of(kept[0])
    said = predictions(teacher.network, teacher.data)
    wrong = wrong_rows(said.logits, said.labels)
    rows = [(variant, moments(variant, teacher.data, said.logits, said.labels)) for variant in variants(kept)]

    columns = max(len(row) for _, row in rows)
    figure = Figure(figsize=(1.2 + 3.1 * columns, 1.4 + 2.3 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), columns, squeeze=False, sharey="row", sharex="row")
    for axes_row, (variant, row) in zip(grid, rows, strict=True):
        draw_row(axes_row, variant, row, wrong)
    for axes in grid[-1]:
        axes.set_xlabel(r"temperature $\tau_x$")
    legend_below(figure, grid[0, 0])
    figure.suptitle(
        f"Temperature of each training image (un-augmented, in batches of {kept[0].config.recipe.batch_size}; "
        f"bars: mean, ± sd over n seeds)\n{setting.title}"
    )
    return figure


def moments(variant: Variant, data: Data, source: Tensor, labels: Tensor) -> list[Moment]:
    """Early, middle and late, as far as students were kept; the same epochs for every seed."""
    students = [student_states(run) for run in variant.runs]
    epochs = sorted(set.intersection(*(set(states) for states in students)))
    if not epochs:
        raise Cannot(f"{variant.name}: the students kept cannot be read", again(variant.runs[0], "snapshots=2"))
    found = []
    for epoch in dict.fromkeys([epochs[0], epochs[(len(epochs) - 1) // 2], epochs[-1]]):
        each = []
        for run, states in zip(variant.runs, students, strict=True):
            student = student_logits(run, data, states[epoch])
            parts = (run.config.revision, run.config.temperature)
            each.append(temperatures(*parts, student, source, labels, run.config.recipe.batch_size))
        found.append(Moment(epoch, torch.stack(each)))
    return found


def student_states(run: Run) -> dict[int, dict[str, Tensor]]:
    """The students kept by a run, by the epoch after which they were kept."""
    kept = (files.load_own(path) for path in [*sorted(run.folder.glob("snapshot-*.pt")), run.folder / "student.pt"])
    return {shot["epoch"]: shot["model"] for shot in kept if shot is not None}


def student_logits(run: Run, data: Data, state: dict[str, Tensor]) -> Tensor:
    """What a student says about every training image, (N, C)."""
    network = build(run.config.student.network, classes=data.classes, channels=data.channels, size=data.size)
    network.load_state_dict(state)
    return predictions(on_device(network, data), data).logits


def temperatures(
    revision: Revision, temperature: Temperature, student: Tensor, source: Tensor, labels: Tensor, batch: int
) -> Tensor:
    """The teacher's temperature of every sample, (N,), in batches in index order: it is relative to its batch."""
    found = []
    for z_student, z_source, label in zip(student.split(batch), source.split(batch), labels.split(batch), strict=True):
        found.append(torch.as_tensor(drawn(temperature, revision, z_student, z_source, label).teacher))
    return torch.cat(found)


def draw_row(axes_row: Sequence[Axes], variant: Variant, row: Sequence[Moment], wrong: Tensor) -> None:
    """The moments of a variant, with the same bins and axes."""
    config = variant.runs[0].config
    low = min(float(moment.temperatures.min()) for moment in row)
    high = max(float(moment.temperatures.max()) for moment in row)
    edges = np.linspace(low, max(high, low + 1e-3), BINS + 1)
    for axes, moment in zip(axes_row, row, strict=False):
        histograms(axes, moment, wrong, edges)
        title = f"after epoch {moment.epoch}{' (the last)' if moment.epoch == config.recipe.epochs else ''}"
        clamp = config.temperature.minimum
        if clamp is not None:
            clamped = float((moment.temperatures <= clamp).float().mean()) * 100
            title += f": {clamped:.1f} % clamped at {clamp:g}"
            axes.axvline(clamp, color="black", linestyle=":", label="clamp")
        axes.set_title(title)
    margin = 0.03 * (edges[-1] - edges[0])
    axes_row[0].set_xlim(edges[0] - margin, edges[-1] + margin)  # a clamp far from all temperatures stays outside
    axes_row[0].set_ylim(bottom=0)
    axes_row[0].set_ylabel(f"{variant.label}\nshare of the images [%]")
    for axes in axes_row[len(row) :]:
        axes.set_visible(False)


def histograms(axes: Axes, moment: Moment, wrong: Tensor, edges: np.ndarray) -> None:
    """Right and wrong images, each as a share of its own group; mean and deviation over seeds."""
    groups: tuple[tuple[str, Tensor, float, dict[str, Any]], ...] = (
        ("teacher right", ~wrong, 0.35, {"facecolor": "0.75", "edgecolor": "black"}),
        ("teacher wrong", wrong, 0.65, {"facecolor": "none", "edgecolor": COLOURS[2], "hatch": "/////"}),
    )
    for caption, members, side, look in groups:  # the two groups' error bars stand side by side
        size = int(members.sum())
        if not size:
            continue
        counts = np.stack([np.histogram(each[members].numpy(), edges)[0] for each in moment.temperatures])
        shares = counts / size * 100
        axes.stairs(shares.mean(0), edges, fill=True, linewidth=0.9, label=f"{caption} ({size:,} images)", **look)
        if len(shares) > 1:
            centres = edges[:-1] + side * np.diff(edges)
            deviation = shares.std(0, ddof=1)
            axes.errorbar(centres, shares.mean(0), deviation, fmt="none", ecolor=look["edgecolor"], elinewidth=0.8)


KIND = Kind(
    name="temperature",
    needs="a dynamic temperature and students kept along the training",
    overrides="method=la_dtd snapshots=2",
    uses=lambda run: run.config.source == "teacher" and isinstance(run.config.temperature, DynamicTemperature),
    draw=draw,
    evaluates=True,
)
