"""Figures, their JSON lines and their tables."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch

import bench.__main__ as command
from bench.epoch import unseen_share
from bench.measurement import Measurement, Setting, interleaved
from bench.tables import write
from kd_experiments.data.views import Views

KEYS = {
    "figure", "about", "setting", "unit", "better", "target", "met", "median", "min", "max", "fastest",
    "repetitions", "values", "parts", "note", "quick", "date", "cores", "load_before", "machine",
}  # fmt: skip


def figure(*values: float, target: float | None = 2.0, better: str = "higher", name: str = "epoch") -> Measurement:
    parts = {"step_ms": values, "kd_step_ms": values, "memory_MB": [5.0], "kd_memory_MB": [3.5]}
    return Measurement(name, "a over b", "pair", "x", better, target, values, parts, "a note")  # type: ignore[arg-type]


def test_a_line_has_all_that_is_needed_to_judge_it(setting: Setting) -> None:
    line = json.loads(figure(3.0, 1.0, 2.5).line(setting))
    assert set(line) == KEYS
    assert (line["median"], line["min"], line["max"], line["repetitions"]) == (2.5, 1.0, 3.0, 3)
    assert line["met"] is True and line["quick"] is True and line["values"] == [3.0, 1.0, 2.5]
    assert {"commit", "device_name", "packages", "threads", "python"} <= set(line["machine"])
    empty = json.loads(figure().line(setting))
    assert empty["median"] is None and empty["met"] is None


@pytest.mark.parametrize(
    ("better", "target", "met"),
    [("higher", 2, True), ("higher", 2.1, False), ("lower", 1.9, False), ("lower", 2, True)],
)
def test_a_target_is_a_bound(better: str, target: float, met: bool) -> None:
    assert figure(1.0, 2.0, 3.0, target=target, better=better).met is met


def test_parts_are_run_in_turn() -> None:
    order = ""

    def part(name: str) -> None:
        nonlocal order
        order += name

    seconds = interleaved({"a": lambda: part("a"), "b": lambda: part("b")}, 2, torch.device("cpu"))
    assert order == "ab" + "abab"  # the first two are warm-up
    assert {name: len(values) for name, values in seconds.items()} == {"a": 2, "b": 2}


def test_share_of_unseen_views_is_what_drawing_them_gives() -> None:
    views, samples, epochs = Views(1, True), 4000, 40
    seen = torch.zeros(samples, views.count, dtype=torch.bool)
    unseen = 0
    for epoch in range(epochs):
        drawn = views.draw(0, epoch, samples, torch.device("cpu"))
        unseen += int((~seen[torch.arange(samples), drawn]).sum())
        seen[torch.arange(samples), drawn] = True
    assert unseen_share(views.count, epochs) == pytest.approx(unseen / samples / epochs, abs=0.005)


def test_tables_say_what_was_met_missed_and_not_run(setting: Setting) -> None:
    figures = [figure(3.0, 2.0), figure(1.0), figure(), figure(2.0, 4.0, name="method_cost")]
    text = write([json.loads(one.line(setting)) for one in figures])
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert rows[2][3:] == ["≥ 2x", "2.5x (2 to 3), 2", "yes |"]
    assert rows[3][4:] == ["1x, 1", "**no** |"] and rows[4][4:] == ["not run", "- |"]
    assert rows[-1] == ["| a over b", "4", "3x (2 to 4), 2", "≤ 2x", "5.0", "+1.5 |"]
    assert text.count("a note") == 1
    assert "--quick" in text


def test_the_command_prints_lines_and_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(setting: Setting) -> list[Measurement]:
        raise RuntimeError("it broke")

    groups = {"broken": broken, "works": lambda setting: [figure(2.0), figure(1.0)]}
    modules = {name: types.SimpleNamespace(figures=function) for name, function in groups.items()}
    monkeypatch.setattr(command, "GROUPS", modules)
    monkeypatch.setattr(command, "PACKAGE", tmp_path / "package")
    monkeypatch.setattr(sys, "argv", ["bench", "--quick"])
    assert command.main() == 1
    said = capsys.readouterr()
    assert [json.loads(line)["met"] for line in said.out.splitlines()] == [True, False]
    assert "it broke" in said.err and "not measured: broken" in said.err
    (kept,) = (tmp_path / "results" / "bench").iterdir()
    assert kept.read_text() == said.out

    monkeypatch.setattr(sys, "argv", ["bench", "workz"])
    with pytest.raises(SystemExit) as stop:
        command.main()
    assert stop.value.code == 2 and "workz: no such figure; choose from broken, works" in capsys.readouterr().err
