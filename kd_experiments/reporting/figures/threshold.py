"""CMD: the confidence threshold, how much knowledge passes it, and how much of that is true."""

from __future__ import annotations

import math
from operator import itemgetter

import pandas as pd
from matplotlib.figure import Figure

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Setting, over_seeds, variants
from kd_experiments.reporting.figures.style import curve, epoch_axis, legend_below, percent_axis

COLUMNS = ("confidence_threshold", "taught_share", "taught_true_share")


def draw(setting: Setting) -> Figure:
    """Three panels over epochs, a curve for each variant."""
    found = variants(setting.runs)
    figure = Figure(figsize=(10, 3.6 + 0.16 * len(found)), layout="constrained")
    threshold, share, precision = figure.subplots(1, 3)
    for place, variant in enumerate(found):
        curve(threshold, over_seeds(variant.runs, itemgetter("confidence_threshold")), place, variant.label)
        curve(share, over_seeds(variant.runs, lambda history: history["taught_share"] * 100), place, variant.label)
        curve(precision, over_seeds(variant.runs, precision_of), place, variant.label)
    classes = setting.runs[0].record["data"]["classes"]
    threshold.axhline(math.log(classes), color="0.4", linestyle=(0, (1, 3)), label=f"entropy of a guess, ln {classes}")
    threshold.set(title="threshold", ylabel=r"$\chi(t)$, mean over the epoch [nats]")
    threshold.set_ylim(bottom=0)
    share.set(title="knowledge selected", ylabel="share of the samples [%]")
    precision.set(title="precision: true class predicted", ylabel="share of the selected [%]")
    precision.sharex(share)
    for axes in (threshold, share, precision):
        epoch_axis(axes)
    for axes in (share, precision):
        percent_axis(axes)
    legend_below(figure, threshold)
    figure.suptitle(f"Confident knowledge: what the student is taught (mean, band: ± sd over n seeds)\n{setting.title}")
    return figure


def precision_of(history: pd.DataFrame) -> pd.Series:
    """Share of the taught knowledge that is true, in percent; none where nothing is taught."""
    taught = history["taught_share"]
    return history["taught_true_share"].div(taught.where(taught > 0)) * 100


KIND = Kind(
    name="threshold",
    needs="a confidence threshold (CMD)",
    overrides="method=cmd_p",
    uses=lambda run: all(run.measured(column) for column in COLUMNS),
    draw=draw,
)
