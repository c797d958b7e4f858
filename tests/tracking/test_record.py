"""Records that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kd_experiments.errors import UserError
from kd_experiments.tracking.record import RunFolder, read_record


def test_half_a_record_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert read_record(path) is None
    path.write_text('{"schema": 1, "status": ')
    assert read_record(path) is None
    path.write_text("[]")
    assert read_record(path) is None


def test_a_newer_record_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"schema": 99, "status": "complete"}))
    with pytest.raises(UserError, match="written by a newer version"):
        read_record(path)


def test_history_leaves_unmeasured_figures_empty(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_history([{"epoch": 0.0, "loss": 1.5}, {"epoch": 1.0, "loss": 1.0, "test_top1": 50.0}])
    assert folder.history_file.read_text() == "epoch,loss,test_top1\n0.0,1.5,\n1.0,1.0,50.0\n"
