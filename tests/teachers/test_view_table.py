"""The table of teacher answers changes nothing but the time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from kd_experiments.data.digits import read_digits
from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import DatasetConfig, load
from kd_experiments.networks import build
from kd_experiments.supervision.objective import Batch
from kd_experiments.teachers import obtain
from kd_experiments.teachers.frozen import LiveTeacher, TabulatedTeacher
from kd_experiments.teachers.view_table import ViewTable
from tests.conftest import Cli, records

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Any:
    assert read_digits()
    return load(DatasetConfig("digits", None, False, 700, 0.15, 0, 1, False, None, None), NoNoise(), Path("unused"))


def test_rows_are_kept_and_missing_ones_known(tmp_path: Path) -> None:
    table = ViewTable(tmp_path / "t.f32", samples=5, views=3, classes=2)
    views = torch.tensor([0, 1, 2, 0, 1])
    assert table.missing(views).tolist() == [0, 1, 2, 3, 4]
    logits = torch.randn(2, 2)
    table.fill(torch.tensor([1, 4]), views[[1, 4]], logits)
    assert table.missing(views).tolist() == [0, 2, 3]
    again = ViewTable(tmp_path / "t.f32", samples=5, views=3, classes=2)
    assert torch.equal(again.read(views)[[1, 4]], logits)
    assert again.missing(torch.tensor([0, 2, 2, 0, 0])).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spoil", ["truncated", "other shape", "marks missing"])
def test_a_table_that_does_not_fit_is_built_anew(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "t.f32"
    table = ViewTable(path, 5, 3, 2)
    views = torch.zeros(5, dtype=torch.long)
    table.fill(torch.arange(5), views, torch.ones(5, 2))
    del table
    if spoil == "truncated":
        path.write_bytes(path.read_bytes()[:-4])
    if spoil == "marks missing":
        path.with_suffix(".seen").unlink()
    classes = 4 if spoil == "other shape" else 2
    assert len(ViewTable(path, 5, 3, classes).missing(views)) == 5


def test_table_and_live_teacher_say_the_same_bit_for_bit(data: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("resnet8", classes=10, channels=1, size=8).eval().to(memory_format=torch.channels_last)
    table = ViewTable(tmp_path / "t.f32", len(data.train), data.views.count, 10)
    tabulated, live = TabulatedTeacher(lambda: network, table, data), LiveTeacher(network, data)
    for epoch in range(3):  # later epochs find some rows filled: chunks are then composed differently
        views = data.views.draw(0, epoch, len(data.train), CPU)
        tabulated.begin_epoch(views)
        index = torch.randperm(len(data.train))[:64]
        batch = Batch(index, data.show(index, views[index]), *[torch.empty(0)] * 3)
        assert torch.equal(tabulated.says(batch).logits, live.says(batch).logits)


def test_students_do_not_depend_on_the_table(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("method=kd", f"paths.results={tmp_path / 'table'}").code == 0
    monkeypatch.setattr(obtain, "LARGEST_TABLE", 0)
    assert cli("method=kd", f"paths.results={tmp_path / 'live'}").code == 0
    monkeypatch.undo()
    (with_table,), (live,) = records(tmp_path / "table"), records(tmp_path / "live")
    assert with_table["metrics"] == live["metrics"]
    assert list((tmp_path / "table").glob("teachers/*/*.f32")) and not list(
        (tmp_path / "live").glob("teachers/*/*.f32")
    )


def test_a_filled_table_needs_no_teacher_network(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli("method=kd").code == 0

    def never(*arguments: object) -> None:
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr(obtain, "load_network", never)
    assert cli("method=la_ps").code == 0  # the same seed, hence the same views
