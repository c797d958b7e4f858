"""BTKD: the weights of easy and hard samples over epochs, and how many hard ones there are."""

from __future__ import annotations

import math

from matplotlib.figure import Figure

from kd_experiments.reporting.figures.kind import Kind
from kd_experiments.reporting.figures.runs import Setting, over_seeds, variants
from kd_experiments.reporting.figures.style import curve, epoch_axis

COLUMNS_OF_PANELS = 4


def draw(setting: Setting) -> Figure:
    """For each variant its weights, and below them the number of images its teacher gets wrong."""
    found = variants(setting.runs)
    samples = setting.runs[0].record["data"]["train"]
    width = min(len(found), COLUMNS_OF_PANELS)
    height = math.ceil(len(found) / COLUMNS_OF_PANELS)
    figure = Figure(figsize=(max(1.2 + 2.9 * width, 6.0), 0.8 + 4.2 * height), layout="constrained")
    grid = figure.subplots(2 * height, width, squeeze=False, sharex=True)
    for axes in grid.flat:
        axes.set_visible(False)
    for axes in list(grid[1::2].flat)[1:]:
        axes.sharey(grid[1, 0])
    for place, variant in enumerate(found):
        row, column = divmod(place, width)
        weights, wrong = grid[2 * row, column], grid[2 * row + 1, column]
        curve(
            weights, over_seeds(variant.runs, lambda history: history["easy_weight"]), 0, "easy: b(e)", markersize=7.5
        )
        curve(weights, over_seeds(variant.runs, lambda history: 1 - history["easy_weight"]), 1, "hard: 1 − b(e)")
        curve(wrong, over_seeds(variant.runs, lambda history: history["source_wrong_share"] * samples), 2, "hard")
        weights.set(title=variant.label, ylabel="weight" if column == 0 else "", ylim=(-0.05, 1.05))
        wrong.set(ylabel=f"images the teacher\ngets wrong (of {samples:,})" if column == 0 else "")
        for axes in (weights, wrong):
            axes.set_visible(True)
            axes.tick_params(labelleft=column == 0)
        wrong.tick_params(labelbottom=True)  # there may be no panel below
        epoch_axis(wrong)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    figure.suptitle(
        f"BTKD: weights of easy and hard samples (mean, band: ± sd over n seeds; e = epoch − 1)\n{setting.title}"
    )
    return figure


KIND = Kind(
    name="btkd",
    needs="easy and hard samples (BTKD)",
    overrides="method=btkd",
    uses=lambda run: run.measured("easy_weight") and run.measured("source_wrong_share"),
    draw=draw,
)
