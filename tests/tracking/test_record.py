"""Records that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kd_experiments import files
from kd_experiments.errors import UserError
from kd_experiments.tracking.record import RunFolder, every_record, read_record
from tests.conftest import Cli


@pytest.mark.parametrize("content", ['{"schema": 1, "status": ', "[]", "[" * 100_000, '{"schema": 99}', "", "null"])
def test_what_is_no_record_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "runs" / "half" / "record.json"
    assert read_record(path) is None
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(UserError, match=r"record\.json"):
        read_record(path)
    found, broken = every_record(tmp_path)
    assert found == [] and len(broken) == 1


def test_every_field_is_checked(cli: Cli, tmp_path: Path) -> None:
    assert cli("method=none").code == 0
    (path,) = (tmp_path / "runs").glob("*/record.json")
    whole = json.loads(path.read_text())
    assert whole.pop("sha256")
    for field, value in (
        ("signature", 3), ("status", "perfect"), ("metrics", {"test_top1_last": "high"}), ("label", {"method": "kd"}),
        ("machine", None), ("data", {**whole["data"], "train": -1.5}), ("typed", "method=kd"), ("config", []),
    ):  # fmt: skip
        files.write_json(path, whole | {field: value})
        with pytest.raises(UserError, match=field):
            read_record(path)
    files.write_json(path, whole)
    record = read_record(path)
    assert record is not None and record.is_done and record.seed == 0
    assert "method=none" in record.typed and record.label.method == "none"


def test_history_leaves_unmeasured_figures_empty(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_history([{"epoch": 0.0, "loss": 1.5}, {"epoch": 1.0, "loss": 1.0, "test_top1": 50.0}])
    assert folder.history_file.read_text() == "epoch,loss,test_top1\n0.0,1.5,\n1.0,1.0,50.0\n"
