"""What accuracy costs: test accuracy over the time of training a student, for each method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Run, Setting, variants
from kd_experiments.reporting.figures.style import COLOURS, MARKERS, headline, keep_in_sight, legend_below
from kd_experiments.reporting.records import PRIMARY
from kd_experiments.reporting.statistics import Difference, paired_difference

MOST = 24


def draw(setting: Setting) -> Figure:
    """A numbered point a method; the numbers are explained beside the axes."""
    found = variants(setting.runs)
    shown = found[:MOST]
    figure = Figure(figsize=(7.5, 4.6 + 0.11 * len(shown)), layout="constrained")
    axes = figure.subplots()
    points = [(seconds_of(variant.runs), accuracy_of(variant.runs)) for variant in shown]
    for place, (variant, (time, accuracy)) in enumerate(zip(shown, points, strict=True)):
        colour = COLOURS[place % len(COLOURS)]
        axes.errorbar(
            time.mean,
            accuracy.mean,
            xerr=np.nan_to_num(time.std),
            yerr=np.nan_to_num(accuracy.high - accuracy.mean),
            color=colour,
            marker=MARKERS[place % len(MARKERS)],
            markerfacecolor=colour if place // len(MARKERS) % 2 == 0 else "white",
            linestyle="none",
            elinewidth=0.8,
            capsize=2,
            label=f"{place + 1}  {variant.label}",
        )
        axes.annotate(
            str(place + 1), (time.mean, accuracy.mean), (5, 4), textcoords="offset points", fontsize=9, weight="bold"
        )
    cut = keep_in_sight(axes, [accuracy for _, accuracy in points])
    axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))  # a deviation may reach below 0, a time cannot
    axes.set_xlabel("training of the student [s], with asking the teacher, without its own training")
    axes.set_ylabel("test accuracy at the last epoch [%]")
    legend_below(figure, axes)
    notes = ["mean over seeds; bars: 95 % t interval of the accuracy, ± sd of the time"]
    notes += ["intervals are cut at the axes"] if cut else []
    notes += [f"the first {MOST} of {len(found)} methods"] if len(found) > MOST else []
    headline(figure, f"Cost and accuracy on {machine(setting.runs[0])}", setting.title, "; ".join(notes))
    return figure


def seconds_of(runs: Sequence[Run]) -> Difference:
    return _mean({run.seed: run.record["timing"]["train_seconds"] for run in runs})


def accuracy_of(runs: Sequence[Run]) -> Difference:
    return _mean({run.seed: run.record["metrics"][PRIMARY] for run in runs})


def _mean(values: dict[int, float]) -> Difference:
    """The mean with its deviation and interval, as a difference to nothing."""
    found = paired_difference(values, dict.fromkeys(values, 0.0))
    assert found is not None
    return found


def machine(run: Run) -> str:
    """Where a run was timed: times of different machines do not share a figure."""
    facts = run.record["environment"]
    threads = facts.get("threads")
    at = f", {threads} thread{'' if threads == 1 else 's'}" if threads and facts["device"] == "cpu" else ""
    return f"{facts['device_name']} ({facts['device']}{at})"


KIND = Kind(
    name="cost",
    needs="two methods timed on one machine",
    overrides="--multirun method=none,kd,lrds seed=0,1,2",
    uses=lambda run: "train_seconds" in run.record["timing"],
    draw=draw,
    aspect=machine,
)
