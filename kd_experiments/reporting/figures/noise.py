"""Learning under label noise: what is fitted, what is corrected, and what comes of it on clean test images."""

from __future__ import annotations

from operator import itemgetter

from matplotlib.figure import Figure

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Run, Setting, over_seeds, variants
from kd_experiments.reporting.figures.style import curve, epoch_axis, legend_below, percent_axis

PANELS = {
    "test_top1": ("clean test accuracy", "right test images [%]"),
    "clean_fit": ("fit of clean labels", "clean labels predicted [%]"),
    "wrong_fit": ("fit of wrong labels", "wrong labels predicted [%]"),
    "correction": ("correction", "wrongly labelled images\npredicted as their true class [%]"),
}


def draw(setting: Setting) -> Figure:
    """Four panels over epochs, a curve for each method."""
    found = variants(setting.runs)
    figure = Figure(figsize=(8.5, 6.2 + 0.08 * len(found)), layout="constrained")
    grid = figure.subplots(2, 2, sharex=True)
    for axes, (column, (title, unit)) in zip(grid.flat, PANELS.items(), strict=True):
        for place, variant in enumerate(found):
            curve(axes, over_seeds(variant.runs, itemgetter(column)), place, variant.label)
        axes.set(title=title, ylabel=unit)
        percent_axis(axes)
    for axes in grid[1]:
        epoch_axis(axes)
    legend_below(figure, grid[0, 0])
    pairs = "; of two networks that teach each other, the first" if any(map(has_peer, setting.runs)) else ""
    figure.suptitle(f"Learning under label noise (mean, band: ± sd over n seeds{pairs})\n{setting.title}")
    return figure


def has_peer(run: Run) -> bool:
    return run.config.source == "peer"


KIND = Kind(
    name="noise",
    needs="label noise",
    overrides="--multirun method=none,cmd_p seed=0,1,2 label_noise=symmetric",
    uses=lambda run: all(run.measured(column) for column in PANELS),
    draw=draw,
)
