"""The frame of runs: from records, to a file and back, unchanged."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pandas as pd
import pytest

from kd_experiments.errors import UserError
from kd_experiments.reporting.frame import LEFT_OUT, csv_text, digest, frame_of, runs, to_csv
from tests.reporting.synthetic import record, several, write


def test_a_file_gives_the_frame_it_was_written_from(tmp_path: Path) -> None:
    write(tmp_path, *several()[:20])
    frame = runs(tmp_path)
    (tmp_path / "runs.csv").write_text(to_csv(frame), newline="")
    again = runs(csv=tmp_path / "runs.csv")
    pd.testing.assert_frame_equal(again, frame)
    assert digest(again) == digest(frame) and to_csv(again) == to_csv(frame)
    both = runs(tmp_path, tmp_path / "runs.csv")
    assert len(both) == 20 and digest(both) == digest(frame)


@pytest.mark.parametrize(
    "value",
    ["1", "1.0", "true", "null", "NaN", "[1, 2]", '"quoted"', "a,b", "two\nlines", "résumé", " ", 1, 1.5, -0.0, True,
     (1, 2),      (0.1, "x"), 2**60, 1e-300, None],
)  # fmt: skip
def test_every_value_keeps_its_type(tmp_path: Path, value: object) -> None:
    head = {"signature": "a" * 16, "stage": "s", "method": "kd", "replicate": "seed=0", "status": "complete"}
    head |= {"dataset.name": "digits"}
    frame = frame_of([head | {"x.y": value}, head | {"signature": "b" * 16}])
    (tmp_path / "runs.csv").write_text(to_csv(frame), newline="")
    again = runs(csv=tmp_path / "runs.csv")
    pd.testing.assert_frame_equal(again, frame)
    found = again["x.y"].iloc[0]
    assert pd.isna(found) if value is None else (found == value and isinstance(found, str) == isinstance(value, str))


def test_measured_figures_have_the_digits_of_float32_and_chosen_ones_all(tmp_path: Path) -> None:
    third, exact = 100 / 3, 0.1234567890123
    made = record("kd", top1=third, values={"recipe.lr": exact})
    (row,) = runs(write(tmp_path, made), digits=7).to_dict("records")
    assert runs(tmp_path)["metrics.test_top1_last"].item() == third
    assert row["metrics.test_top1_last"] == 33.33333 and row["recipe.lr"] == exact
    assert "teacher.signature" not in row and "machine.device_name" not in row, "said once"
    gpu = made["machine"] | {"device": "cuda", "device_name": "a GPU"}
    (row,) = runs(write(tmp_path, made | {"machine": gpu})).to_dict("records")
    assert row["machine.device_name"] == "a GPU"


def test_the_order_of_records_says_nothing(tmp_path: Path) -> None:
    made = several()[:12]
    one, other = write(tmp_path / "one", *made), write(tmp_path / "other", *reversed(made))
    assert to_csv(runs(one)) == to_csv(runs(other))


def test_a_record_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    made = [record("kd", seed) for seed in range(3)]
    write(tmp_path, *made)
    (tmp_path / "runs" / made[0]["signature"] / "record.json").write_text("{")
    old = json.dumps(made[1] | {"schema": 1})
    (tmp_path / "runs" / made[1]["signature"] / "record.json").write_text(old)
    frame = runs(tmp_path)
    assert len(frame) == 1 and len(frame.attrs[LEFT_OUT]) == 2
    assert made[0]["signature"] in " ".join(frame.attrs[LEFT_OUT])


def test_a_file_that_is_no_table_of_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="not a table of runs: lacks signature"):
        runs(csv=tmp_path / "other.csv")
    with pytest.raises(UserError, match="cannot be read"):
        runs(csv=tmp_path / "nothing.csv")


def test_none_are_a_frame_too(tmp_path: Path) -> None:
    frame = runs(tmp_path)
    assert frame.empty and "signature" in frame and len(digest(frame)) == 12


def test_rows_that_are_no_runs_are_said(tmp_path: Path) -> None:
    """However a cell is spoilt, the other rows are read."""
    write(tmp_path, record("kd", 0), record("kd", 1))
    lines = to_csv(runs(tmp_path)).splitlines()
    columns, row = lines[0].split(","), next(csv.reader(lines[2:3]))
    spoilt = [
        ("signature", '{"a": 1}'), ("signature", "../../x"), ("signature", "[" * 5000), ("signature", "[[1]]"),
        ("metrics.test_top1_last", "high"), ("timing.train_seconds", "[1]"), ("seed", "one"), ("typed", "[[1]]"),
        ("data.classes", "0"), ("status", "perfect"), ("student.parameters", "many"), ("metrics.loss_last", "Infinity"),
    ]  # fmt: skip
    wrong = [
        [text if name == column else cell for name, cell in zip(columns, row, strict=True)] for column, text in spoilt
    ]
    deep = [[f"[{'[' * 5000}" if name == "error" else cell for name, cell in zip(columns, row, strict=True)]]
    (tmp_path / "runs.csv").write_text("\n".join([*lines[:2], csv_text([*wrong, *deep])]))
    frame = runs(csv=tmp_path / "runs.csv")
    assert len(frame) == 2 and digest(frame)
    assert len(frame.attrs[LEFT_OUT]) == len(spoilt)
    for (column, _), said in zip(spoilt, frame.attrs[LEFT_OUT], strict=True):
        assert column in said and "left out" in said and len(said) < 300
