"""Figures: nothing overlaps or is cut, nothing lies, and the same runs give the same bytes."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from kd_experiments.reporting import figures
from kd_experiments.reporting.figures import COLUMN, PAGE, Drawing, house_style, of_sweep, save
from kd_experiments.reporting.frame import runs
from kd_experiments.reporting.study import Study
from kd_experiments.sweeping.definitions import names
from tests.reporting.synthetic import SETTING, record, several, swept, write


def drawn(drawing: Drawing) -> Figure:
    with house_style():
        figure = drawing.draw()
        figure.set_dpi(100)
        figure.draw_without_rendering()
    return figure


def boxes(figure: Figure) -> list[tuple[str, Any]]:
    """The extents of all texts that are seen."""
    beyond = set()  # tick labels outside the limits are not drawn
    for axes in figure.axes:
        across = (axes.get_xticklabels(), axes.get_xlim(), 0)
        for labels, limits, place in (across, (axes.get_yticklabels(), axes.get_ylim(), 1)):
            low, high = sorted(limits)
            beyond |= {label for label in labels if not low - 1e-9 <= label.get_position()[place] <= high + 1e-9}
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    extents = [(text.get_text(), text.get_window_extent()) for text in texts if text not in beyond]
    return [(text, box) for text, box in extents if box.width > 0]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    found = []
    for (one, a), (other, b) in itertools.combinations(boxes(figure), 2):
        across, down = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        if across > 1 and down > 1:
            found.append((one, other))
    return found


def clipped(figure: Figure) -> list[str]:
    edge = figure.bbox
    inside = (edge.x0 - 1, edge.y0 - 1, edge.x1 + 1, edge.y1 + 1)
    return [
        text
        for text, box in boxes(figure)
        if box.x0 < inside[0] or box.y0 < inside[1] or box.x1 > inside[2] or box.y1 > inside[3]
    ]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("runs")
    long = "lrds selection=teacher_correct ratio=0.55 weighting=right_then_wrong"
    return Study(runs(write(folder, *several(), *(record(long, seed) for seed in range(3)))))


def test_labels_neither_overlap_nor_clip(study: Study) -> None:
    assert {one.name.split("-")[0] for one in study.drawings} == {"forest", "quality", "noise", "sweep"}
    for drawing in study.drawings:
        figure = drawn(drawing)
        assert not overlapping(figure), drawing.name
        assert not clipped(figure), drawing.name
        assert figure.get_figwidth() in (COLUMN, PAGE) and figure.get_suptitle() == ""


def test_a_share_ends_at_a_hundred(tmp_path: Path) -> None:
    made = [record(method, seed, 99.9 - seed / 100) for method in ("kd", "lrds") for seed in range(2)]
    for drawing in Study(runs(write(tmp_path, *made))).drawings:
        for axes in drawn(drawing).axes:
            if "top-1" in axes.get_xlabel() and "difference" not in axes.get_xlabel():
                assert axes.get_xlim()[1] <= 100


def test_an_interval_beyond_the_axis_is_marked_with_its_value(tmp_path: Path) -> None:
    top1 = {"kd": (90, 90, 90), "lrds": (91, 91.1, 91.2), "dkd": (70, 91, 99)}
    made = [record(method, seed, float(value)) for method, values in top1.items() for seed, value in enumerate(values)]
    drawing = next(one for one in Study(runs(write(tmp_path, *made))).drawings if one.name.endswith("-column"))
    figure = drawn(drawing)
    low, high = figure.axes[0].get_xlim()
    said = [text.get_text() for text in figure.axes[0].texts]
    assert any(text.startswith("−") for text in said) and any(text.startswith("+") for text in said)
    assert low > -30 and high < 40 and not overlapping(figure) and not clipped(figure)


def test_a_mean_far_from_all_others_is_told_at_the_edge(tmp_path: Path) -> None:
    """Otherwise differences of some tenths would be one line of dots."""
    tops = {"kd": 80.0, "lrds": 80.6, "dkd": 80.9, "dist": 79.5, "at": 60.0}
    made = [record(method, seed, top + 0.1 * seed * len(method)) for method, top in tops.items() for seed in range(4)]
    axes = drawn(Study(runs(write(tmp_path, *made))).drawings[0]).axes[-1]
    low, high = axes.get_xlim()
    assert -5 < low < 0 < high < 5 and any(text.get_text().startswith("−20.") for text in axes.texts)


@pytest.mark.parametrize(("count", "shown"), [(5, 2), (6, 0)])
def test_few_seeds_are_points_and_many_are_intervals(tmp_path: Path, count: int, shown: int) -> None:
    made = [record(method, seed) for method in ("kd", "lrds") for seed in range(count)]
    figure = drawn(Study(runs(write(tmp_path, *made))).drawings[0])
    points = [line for line in figure.axes[0].lines if line.get_color() == "0.55"]
    assert len(points) == shown and all(len(line.get_xdata()) == count for line in points)


def test_no_interval_of_many_seeds_is_cut_in_silence(tmp_path: Path) -> None:
    made = [record(method, seed, 99.0 + (seed == 0)) for method in ("kd", "lrds") for seed in range(6)]
    figure = drawn(Study(runs(write(tmp_path, *made))).drawings[0])
    high = figure.axes[0].get_xlim()[1]
    made = [record("kd", seed, 100.0 - 4 * (seed == 0)) for seed in range(6)] + made[6:]
    figure = drawn(Study(runs(write(tmp_path / "b", *made))).drawings[0])
    assert high <= 100 and figure.axes[0].get_xlim()[1] <= 100
    assert any(text.get_text().startswith("10") for text in figure.axes[0].texts), "the end beyond 100 % is named"


def test_ends_beyond_a_hundred_of_many_series_overlap_nothing(tmp_path: Path) -> None:
    made = swept(
        "lrds_ratio", SETTING, f"seed={','.join(map(str, range(10)))}", "selection=influence,random,loss,entropy"
    )
    for one in made:
        one["metrics"]["test_top1_last"] = 100.0 - 4 * (one["identity"]["seed"] == 0)
    (drawing,) = of_sweep(*Study(runs(write(tmp_path, *made))).grids)
    figure = drawn(drawing)
    assert not overlapping(figure) and not clipped(figure)
    assert any(
        text.get_text().startswith("goes on, to 100.5") for legend in figure.legends for text in legend.get_texts()
    )


def test_a_forest_of_one_column_shows_its_pairs_and_tells_no_means(tmp_path: Path) -> None:
    made = [record(method, seed) for method in ("kd", "lrds") for seed in range(3)]
    forest, column = Study(runs(write(tmp_path, *made))).drawings[:2]
    points = [line for line in drawn(column).axes[0].lines if line.get_color() == "0.55"]
    assert len(points) == 3 and "grey points are pairs" in column.caption
    assert forest.words.startswith("top-1 goes") and column.words.startswith("the difference to KD goes from")


def test_what_is_beyond_thirty_rows_is_said_in_a_sentence(tmp_path: Path) -> None:
    made = [record(f"kd alpha={place}", values={"method.alpha": place}) for place in range(33)] + [record("kd")]
    for drawing in Study(runs(write(tmp_path, *made))).drawings[:2]:
        assert "; 4 further rows are in the table." in drawing.caption and ".;" not in drawing.caption


def test_the_sweep_that_is_asked_for_loses_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_experiments.reporting.study.FIGURES", 2)
    frame = runs(write(tmp_path, *several()))
    shown = ["sweep-lrds_ratio-small-digits" in {one.name for one in Study(frame, asked).drawings}
             for asked in ("", "lrds_ratio")]  # fmt: skip
    assert shown == [False, True]


def test_a_dollar_is_no_formula(tmp_path: Path) -> None:
    made = [record(f"kd name=$\\frac{place}$", values={"method.alpha": place}) for place in range(2)]
    texts = [text for text, _ in boxes(drawn(Study(runs(write(tmp_path, *made))).drawings[0]))]
    assert any("$\\frac0$" in text.replace("\n", "") for text in texts)


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_sweep_has_a_figure_without_overlaps(tmp_path: Path, name: str) -> None:
    study = Study(runs(write(tmp_path, *swept(name))))
    assert [grid.sweep.name for grid in study.grids] == [name]
    for drawing in of_sweep(study.grids[0]):
        figure = drawn(drawing)
        assert not overlapping(figure) and not clipped(figure), drawing.name
        assert sum(len(legend.get_texts()) for legend in figure.legends) <= figures.SERIES + 1


def test_at_most_eight_series(tmp_path: Path, study: Study) -> None:
    sweep = next(one for one in study.drawings if one.name.startswith("sweep"))
    (legend,) = drawn(sweep).legends
    assert len(legend.get_texts()) <= figures.SERIES


def test_files_are_the_same_again_and_hold_text_and_words(tmp_path: Path, study: Study) -> None:
    drawing = study.drawings[1]
    one, other = save(drawing, tmp_path / "a", "abc"), save(drawing, tmp_path / "b", "abc")
    assert [path.suffix for path in one] == [".svg", ".pdf", ".png", ".txt"]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    svg = one[0].read_text()
    assert "<text" in svg and "ReviewKD" in svg and "runs abc" in svg
    text = one[3].read_text()
    assert drawing.caption in text and "In words: the difference to KD goes from" in text
    width = int.from_bytes(one[2].read_bytes()[16:20], "big")
    assert math.isclose(width, COLUMN * 300, abs_tol=2)
