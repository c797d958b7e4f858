"""Figures of what was varied: the axes follow from the keys, and the artists hold the numbers that were measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from scipy import stats

from kd_experiments.reporting.figures import draw_grid, forest, grids, lines, write_figures
from kd_experiments.reporting.figures.grid import MEASURED, Cell, Grid
from kd_experiments.reporting.figures.runs import varied
from kd_experiments.reporting.figures.style import house_style, save
from kd_experiments.sweeping.definitions import Job, Sweep, TableLayout
from tests.conftest import Cli


def grid(cells: Mapping[Any, Mapping[int, float]], *keys: str, **reference: str) -> Grid:
    found = tuple(Cell(dict(zip(keys, at, strict=True)), values) for at, values in cells.items())
    return Grid("name", "A title", keys, found, reference, "command")


def words(figure: Figure, tmp_path: Path) -> str:
    """The SVG, in which matplotlib repeats every text as a comment."""
    with house_style():
        return next(path.read_text() for path in save(figure, tmp_path / "figure") if path.suffix == ".svg")


RATIOS = grid(
    {
        ("influence", "0.2"): {0: 70.0, 1: 72.0, 2: 74.0},
        ("influence", "1.0"): {0: 80.0, 1: 80.5, 2: 81.0},
        ("random", "0.2"): {0: 60.0},
        ("random", "1.0"): {},
    },
    "selection",
    "selection.ratio",
)


def test_lines_hold_means_and_t_intervals(tmp_path: Path) -> None:
    figure = draw_grid(RATIOS)
    (axes,) = [axes for axes in figure.axes if axes.get_visible()]
    influence, random = (each for each in axes.containers if isinstance(each, ErrorbarContainer))
    assert influence.lines[0] is not None and random.lines[0] is not None
    assert influence.lines[0].get_ydata() == pytest.approx([72.0, 80.5])
    assert influence.lines[0].get_xdata() == pytest.approx([0.2, 1.0], abs=0.05)
    half = stats.t.ppf(0.975, 2) * stats.sem([70.0, 72.0, 74.0])
    low, high = influence.lines[2][0].get_segments()[0][:, 1]
    assert (low, high) == pytest.approx((72 - half, 72 + half))
    assert random.lines[0].get_ydata() == pytest.approx([60.0])
    svg = words(figure, tmp_path)
    for text in (MEASURED, "influence (n = 3)", "random (n = 1)", "(selection.ratio)", "n = 1 to 3 seeds", "95 % t"):
        assert text in svg


def test_lines_are_told_apart_without_colour() -> None:
    found = {(name, value): {0: 1.0, 1: 2.0} for name in "abcdefghijkl" for value in ("1", "2")}
    (axes,) = draw_grid(grid(found, "method", "selection.ratio")).axes
    looks = [each.lines[0] for each in axes.containers if isinstance(each, ErrorbarContainer)]
    styles = {(look.get_marker(), look.get_linestyle()) for look in looks if look is not None}
    assert len(styles) == 12 == lines.MOST_LINES


def test_settings_have_panels_of_their_own() -> None:
    found = {(noise, rate): {0: 50.0, 1: 51.0} for noise in ("symmetric", "pair_flip") for rate in ("0.2", "0.4")}
    figure = draw_grid(grid(found, "label_noise", "label_noise.rate"))
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["symmetric", "pair_flip"]


def test_a_heat_map_prints_every_mean_and_hatches_what_is_missing(tmp_path: Path) -> None:
    found: dict[tuple[str, ...], dict[int, float]] = {
        (one, two): {0: 70.0 + float(one), 1: 71.0 + float(one)} for one in ("1", "4", "16") for two in ("0.5", "2")
    }
    found["16", "2"] = {}
    figure = draw_grid(grid(found, "weighting.lambda1", "weighting.lambda2"))
    axes = figure.axes[0]
    assert {text.get_text() for text in axes.texts} == {"71.50\n±0.71", "74.50\n±0.71", "86.50\n±0.71"}
    shown: Any = axes.images[0].get_array()
    means = shown.filled(np.nan)
    assert means == pytest.approx(np.array([[71.5, 71.5], [74.5, 74.5], [86.5, np.nan]]), nan_ok=True)
    assert [patch.get_hatch() for patch in axes.patches].count("////") == 1
    assert axes.get_ylabel() == "λ₁, weight where the teacher is right\n(weighting.lambda1)"
    svg = words(figure, tmp_path)
    for text in (MEASURED, "n = 2 seeds a cell", "(weighting.lambda2)", "±0.71"):
        assert text in svg


def test_choices_show_differences_to_their_reference_paired_by_seed(tmp_path: Path) -> None:
    found = {
        ("kd", "none"): {0: 70.0, 1: 71.0, 2: 72.0},
        ("kd", "lrds"): {0: 71.0, 1: 72.1, 2: 72.9},
        ("dkd", "none"): {0: 75.0},
        ("dkd", "lrds"): {},
    }
    figure = draw_grid(grid(found, "method", "plug_in", plug_in="none"))
    (axes,) = figure.axes
    (drawn,) = (each for each in axes.containers if isinstance(each, ErrorbarContainer))
    assert drawn.lines[0] is not None
    assert drawn.lines[0].get_xdata() == pytest.approx([1.0])
    low, high = drawn.lines[2][0].get_segments()[0][:, 0]
    half = stats.t.ppf(0.975, 2) * stats.sem([1.0, 1.1, 0.9])
    assert (low, high) == pytest.approx((1 - half, 1 + half))
    assert [text.get_text() for text in axes.texts] == [
        "71.00 ± 1.00 %, n = 3, reference",
        "72.00 ± 0.95 %, n = 3",
        "75.00 %, n = 1, reference",
        "not run",
    ]
    svg = words(figure, tmp_path)
    for text in ("difference to plug_in=none", "[points of %]", "paired by seed", "kd, lrds"):
        assert text in svg


def test_choices_without_a_reference_show_accuracies() -> None:
    (axes,) = draw_grid(grid({("a",): {0: 50.0, 1: 52.0}, ("b",): {0: 60.0}}, "weighting.schedule")).axes
    drawn = [each.lines[0] for each in axes.containers if isinstance(each, ErrorbarContainer)]
    assert [float(np.asarray(each.get_xdata())[0]) for each in drawn if each is not None] == [51.0, 60.0]
    assert axes.get_xlabel() == MEASURED


@pytest.mark.parametrize(
    ("values", "geometric"),
    [
        (("1", "2", "4", "8"), True),
        (("0.01", "0.1", "1"), True),
        (("0.2", "0.4", "0.6"), False),
        (("0", "1", "8"), False),
    ],
)
def test_axes_are_logarithmic_where_the_values_are_geometric(values: tuple[str, ...], geometric: bool) -> None:
    points = grid({(value,): {0: 1.0} for value in values}, "temperature.tau0")
    assert points.geometric("temperature.tau0") is geometric


def test_the_same_figure_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = (words(draw_grid(RATIOS), tmp_path / name) for name in "ab")
    assert first == second and "<dc:date>" not in first


def test_a_sweep_is_a_grid_with_its_holes() -> None:
    jobs = tuple(
        Job({"seed": seed, "method": "lrds", "selection.ratio": ratio, "selection": choice}, f"{seed}{ratio}{choice}")
        for seed in "01"
        for ratio in ("0.2", "0.8")
        for choice in ("influence", "random")
    )
    layout = TableLayout(("selection.ratio",), ("method", "selection"), {"selection": "random"})
    measured = {
        f"{seed}0.2influence": {"seed": int(seed), "metrics": {"test_top1_last": 70.0 + int(seed)}} for seed in "01"
    }
    found = grids.of_sweep(Sweep("small/x", "Ratios.", "", layout, jobs), measured)
    assert found.name == "sweep-small-x" and found.title == "Ratios\nsmall/x: 2 of 8 runs done"
    assert found.keys == ("selection.ratio", "selection") and found.numeric == ("selection.ratio",)
    assert [len(cell.values) for cell in found.cells] == [2, 0, 0, 0]
    assert found.cells[0].values == {0: 70.0, 1: 71.0}
    assert found.reference == {"selection": "random"}


def test_keys_that_follow_from_another_are_not_axes() -> None:
    own = [{"a": a, "b": b, "same as a": 10 * a, "one": 1, "kind of a": a > 1} for a in (1, 2, 3) for b in (4, 5)]
    assert varied(own) == ["a", "b"]


def test_wide_intervals_do_not_hide_the_means() -> None:
    wide = {("a", "1"): {0: 40.0, 1: 60.0}, ("a", "2"): {0: 51.0, 1: 52.0}}
    (axes,) = draw_grid(grid(wide, "method", "selection.ratio")).axes
    low, high = axes.get_ylim()
    assert 47 < low < 50 and 51.5 < high < 55


def test_runs_outside_of_all_sweeps_make_figures_of_what_differs(cli: Cli, tmp_path: Path) -> None:
    varied_keys = ("selection=influence,random", "selection.ratio=0.5,1.0", "seed=0,1")
    assert cli("--multirun", "method=lrds", *varied_keys).code == 0
    _, outcomes, _ = write_figures(tmp_path)
    (outcome,) = (outcome for outcome in outcomes if outcome.name == "variants")
    svg = next(path.read_text() for path in outcome.files if path.suffix == ".svg")
    for text in ("lrds: digits", MEASURED, "influence (n = 2)", "random (n = 2)", "(selection.ratio)", "n = 2 seeds"):
        assert text in svg
    runs = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/*/record.json"))]
    assert len(runs) == 8


def test_rows_beyond_what_fits_are_said() -> None:
    many = {(f"m{i}",): {0: 50.0 + i} for i in range(forest.MOST_ROWS + 5)}
    title = draw_grid(grid(many, "method")).get_suptitle()
    assert f"the first {forest.MOST_ROWS} of {forest.MOST_ROWS + 5} rows" in " ".join(title.split())


def test_a_single_seed_has_no_interval() -> None:
    found = Cell({"method": "kd"}, {0: 50.0}).interval
    assert found is not None and found.mean == 50.0 and math.isnan(found.low)
    assert Cell({"method": "kd"}, {}).interval is None
