"""Files are the old ones or the new ones, and say plainly why not."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from kd_experiments import files
from kd_experiments.errors import UserError


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    files.save(tmp_path / "a.pt", {"x": torch.arange(3)})
    assert torch.equal(files.load_own(tmp_path / "a.pt")["x"], torch.arange(3))
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pt"]


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pt"
    files.save(path, {"x": 1})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="no space left on the device; what was written before is kept"):
        files.save(path, {"x": 2})
    monkeypatch.undo()
    assert files.load_own(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written .* give paths.results=FOLDER"):
        files.write_text(tmp_path / "file" / "below", "x")


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    assert files.load_own(tmp_path / "missing.pt") is None
    (tmp_path / "half.pt").write_bytes(b"PK\x03\x04 half a zip")
    assert files.load_own(tmp_path / "half.pt") is None
