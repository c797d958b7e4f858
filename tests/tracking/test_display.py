"""The line that shows how far a training is never loses the epoch, the total and the time left."""

from __future__ import annotations

import io
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from kd_experiments.files import write_json
from kd_experiments.sweeping.outcome import began, progress_line
from kd_experiments.tracking.display import Display, fitting
from kd_experiments.tracking.record import as_record
from kd_experiments.tracking.summary import _try_next
from kd_experiments.tracking.words import duration
from tests.reporting.synthetic import record

ROW = {"epoch": 118.0, "loss": 12.345, "loss_label": 1.0, "loss_distillation": 11.345, "loss_attention": 0.5,
       "images_per_second": 123456.0, "val_top1": 71.23, "test_top1": 70.12}  # fmt: skip


@pytest.mark.parametrize("title", ["student", "teacher resnet56 on cifar100, trained once for all its runs"])
@pytest.mark.parametrize("terminal", [True, False])
def test_eighty_columns_keep_what_matters(title: str, terminal: bool) -> None:
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=terminal, soft_wrap=True, color_system=None)
    display = Display(console)
    display.start(title, 240, 0)
    for epoch in (0, 118, 239):
        display.epoch(ROW | {"epoch": float(epoch)})
        if terminal and display._bar is not None:
            display._bar.refresh()
    display.stop()
    shown = [line for line in text.getvalue().replace("\r", "\n").splitlines() if "/240" in line]
    assert any("1/240" in line and " left" in line for line in shown)
    if terminal:
        assert any("119/240" in line and " left" in line for line in shown) and "…" not in "".join(shown)


@pytest.mark.parametrize("width", [60, 80, 81, 100])
def test_no_epoch_of_any_width_ends_in_an_ellipsis(width: int) -> None:
    text = io.StringIO()
    display = Display(Console(file=text, width=width, force_terminal=True, soft_wrap=True, color_system=None))
    display.start("student", 120, 0)
    for epoch in range(120):
        display.epoch(ROW | {"epoch": float(epoch)})
        assert display._bar is not None
        display._bar.refresh()
    display.stop()
    assert "…" not in text.getvalue() and "  1/120" in text.getvalue()


def test_a_sweep_says_how_far_it_is_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kd_experiments.sweeping.outcome.time", SimpleNamespace(time=lambda: 1000.0))
    began(tmp_path, [f"method=kd seed={seed}" for seed in range(8)])
    for number, status in enumerate(("done", "failed", "skipped")):
        write_json(tmp_path / str(number) / "outcome.json", {"status": status})
    monkeypatch.setattr("kd_experiments.sweeping.outcome.time", SimpleNamespace(time=lambda: 1288.0))
    line = progress_line(tmp_path / "1", 1, [], "failed: out of memory")
    assert line == "run 3 of 8, 1 failed, 12 min left: method=kd seed=1: failed: out of memory"


def test_try_next_keeps_the_data_that_was_typed() -> None:
    typed = ("method=lrds", "selection.ratio=0.5", "dataset=image_folder", "dataset.root=/my flowers", "seed=3")
    made = record("lrds", typed=typed)
    made["config"]["method"]["name"] = "lrds"
    *_, line = _try_next(as_record(made, "a test"))
    what, _, command = line.partition("python -m kd_experiments --multirun ")
    assert what.split() == ["try", "next"]
    assert shlex.split(command) == [
        "method=none,kd,lrds",
        "seed=0,1,2",
        "dataset=image_folder",
        "dataset.root=/my flowers",
    ]


def test_loss_terms_go_first_and_the_time_left_never() -> None:
    texts = [fitting(ROW, "12 min left", room) for room in range(120, 0, -1)]
    assert "attention 0.500" in texts[0] and all(text.endswith("12 min left") for text in texts)
    lost = [next(place for place, text in enumerate(texts) if word not in text)
            for word in ("attention", "images/s", "loss", "val", "test")]  # fmt: skip
    assert lost == sorted(lost) and texts[-1] == "12 min left"


def test_long_times_are_in_minutes_hours_or_days() -> None:
    assert [duration(seconds) for seconds in (40, 700, 12_600, 181_440)] == ["40 s", "12 min", "3.5 h", "2.1 days"]
