"""Files are the old ones or the new ones, and say plainly why not."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_experiments import files, known
from kd_experiments.data import cache
from kd_experiments.errors import UserError
from kd_experiments.teachers.view_table import DiskTable, TableKind
from kd_experiments.tracking.record import RunFolder, read_teacher_record
from tests.reporting.synthetic import record, write

CPU = torch.device("cpu")


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


def test_a_name_stays_in_its_folder() -> None:
    assert files.file_name("digits-resnet20") == "digits-resnet20"
    for text in ("../../etc/passwd", "/etc", "a/b", "..", ".", "", "\0", "a\nb", "x" * 1000, "-rf", "é", "\ud800"):
        name = files.file_name(text)
        assert name and "/" not in name and not name.startswith((".", "-")) and len(name) < 120
    assert len({files.file_name(text) for text in ("a/b", "a_b", "a:b", "../a_b", "x" * 1000, "x" * 1001)}) == 6


WRITERS = {
    "x.pt": (lambda path: files.save(path, {"x": torch.arange(3)}), files.load_own),
    "x.npz": (lambda path: files.save_arrays(path, x=np.arange(3)), lambda path: files.load_arrays(path, "x")),
    "x.json": (lambda path: files.write_json(path, {"x": [1, 0.5, "é"], "y": None}), files.read_json),
    "x.csv": (lambda path: files.write_table(path, "a,b\n1,2\n" * 9), files.read_table),
    "x.bin": (lambda path: files.write_sealed(path, b"a,b\n1,2\n" * 9), files.read_sealed),
}


@pytest.mark.counts("flipped bits: none believed", 100)
@pytest.mark.parametrize("name", WRITERS)
def test_no_flipped_bit_is_believed(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write, read = WRITERS[name]
    path = tmp_path / name
    write(path)
    whole, right = path.read_bytes(), read(path)
    assert right is not None and not capsys.readouterr().err
    generator = np.random.default_rng(0)
    for bit in generator.choice(8 * len(whole), 100, replace=False):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        again = read(path)
        assert again is None or str(again) == str(right)  # a blank of JSON may change, what it says may not
    for cut in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        again = read(path)
        assert again is None or (name == "x.json" and again == right)
    assert capsys.readouterr().err.count("damaged") == 1


def a_record(folder: Path) -> tuple[Path, Callable[[], Any]]:
    write(folder, record())
    (path,) = folder.glob("runs/*/record.json")
    return path, RunFolder(path.parent).read


def a_history(folder: Path) -> tuple[Path, Callable[[], Any]]:
    run = RunFolder(folder)
    run.write_history([{"epoch": 0.0, "loss": 1.5}, {"epoch": 1.0, "loss": 1.25}])
    return run.history_file, lambda: files.read_table(run.history_file)


def a_selection(folder: Path) -> tuple[Path, Callable[[], Any]]:
    RunFolder(folder).write_columns("selected.csv", {"training_image": list(range(0, 90, 7))})
    return folder / "selected.csv", lambda: files.read_table(folder / "selected.csv")


def a_teacher(folder: Path) -> tuple[Path, Callable[[], Any]]:
    made, path = record(), folder / "record.json"
    kept = {name: made[name] for name in ("schema", "identity", "machine")}
    files.write_json(path, {**kept, "facts": made["teacher"]})
    return path, lambda: read_teacher_record(path)


def an_answer(folder: Path) -> tuple[Path, Callable[[], Any]]:
    """Which run a configuration is."""
    given = {"paths": {"results": str(folder)}, "dataset": {}, "teacher": {}, "student": {}, "peer": {}}
    known.remember(given, known.Known("0" * 16, None, "kd on digits"))
    return next(folder.glob("known/*.json")), lambda: known.look_up(given)


def a_table(folder: Path) -> tuple[Path, Callable[[], Any]]:
    """None if any of its rows is not believed."""
    kind, samples = TableKind("t", 5, 1, "pad1", 7, "float32"), torch.arange(5)
    asked = samples, torch.zeros_like(samples)
    DiskTable(folder / "t", kind, CPU).put(*asked, torch.arange(35.0).reshape(5, 7))

    def read() -> Any:
        rows, missing = DiskTable(folder / "t", kind, CPU).get(*asked)
        return None if len(missing) else rows

    return folder / "t", read


def a_cache(folder: Path, name: str) -> tuple[Path, Callable[[], Any]]:
    """None if it is built again."""

    def build(writer: cache.Writer) -> cache.Facts:
        writer.append(np.arange(96, dtype=np.uint8).reshape(8, 3, 2, 2), np.arange(8) % 2)
        return cache.Facts(5, ("a", "b"))

    place = cache.obtain(folder, "made", "f", build, folder / "kept").folder

    def read() -> Any:
        stored = cache._read(place, folder, "f")
        return None if stored is None else (stored.images.tolist(), stored.labels.tolist(), stored.facts)

    return place / name, read


KINDS = {
    "record": a_record,
    "history": a_history,
    "selected": a_selection,
    "teacher's record": a_teacher,
    "known": an_answer,
    "table": a_table,
    **{f"cache's {name}": partial(a_cache, name=name) for name in ("images.npy", "labels.npy", "meta.json")},
}


@pytest.mark.counts("flipped bits in a file of a kind: none believed", 100)
@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_in_any_kind_of_file_is_believed(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By those who read it in a run: weights, checkpoints, outputs and scores are of the kinds above, shards have a
    test of their own.
    """
    path, read = KINDS[kind](tmp_path)
    whole, right = path.read_bytes(), read()
    assert right is not None
    capsys.readouterr()
    for bit in np.random.default_rng(0).choice(8 * len(whole), 100, replace=False):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        again = read()
        assert again is None or str(again) == str(right), bit
        path.write_bytes(whole)  # a table is begun anew where its header is damaged
    assert str(read()) == str(right)
    assert capsys.readouterr().err.count("damaged") == (0 if kind.endswith(".npy") else 1)


def test_neither_pipes_nor_devices_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for read in (files.load_own, files.read_json, files.read_sealed):
        assert read(tmp_path / "pipe") is None and read(tmp_path / "zero") is None and read(tmp_path) is None


def test_left_over_parts_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.pt.123.part").write_bytes(b"x")
    (tmp_path / "a.pt").write_bytes(b"x")
    files.remove_parts(tmp_path, older_than=1000)
    assert len(list(tmp_path.iterdir())) == 2
    files.remove_parts(tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.pt"]


def test_old_parts_are_removed_where_no_lock_is_taken(tmp_path: Path) -> None:
    names = ("known", "sweeps", "data/content", "multirun/day/0", "tables", "figures", "report", "data/shards")
    for name in names:
        (tmp_path / name).mkdir(parents=True)
        for age in (0, 4000):
            part = tmp_path / name / f".x.{age}.part"
            part.write_bytes(b"x")
            os.utime(part, (time.time() - age,) * 2)
    files.remove_old_parts(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.part")} == {".x.0.part"}, "another process may just write it"


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    place = tmp_path / "made"
    for content in ("first", "second"):
        with pytest.raises(KeyError), files.new_folder(place) as folder:
            (folder / "half").write_text(content)
            raise KeyError
        with files.new_folder(place) as folder:
            (folder / "whole").write_text(content)
        assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["made", "made/whole"]
        assert (place / "whole").read_text() == content


def test_who_waits_for_a_lock_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    waiting = threading.Thread(target=lambda: wait(said))

    def wait(said: list[str]) -> None:
        with files.locked(tmp_path / "x.lock", "works here", said.append):
            said.append("mine")

    with files.locked(tmp_path / "x.lock", "works here"):
        waiting.start()
        waiting.join(2)
        assert said == ["waiting for the process that works here"]
    waiting.join()
    assert said[-1] == "mine"


def test_other_programs_read_what_is_saved(tmp_path: Path) -> None:
    """The last line is no hindrance to torch and NumPy themselves."""
    files.save(tmp_path / "a.pt", {"x": 1})
    files.save_arrays(tmp_path / "a.npz", x=np.arange(3))
    assert torch.load(tmp_path / "a.pt", weights_only=True) == {"x": 1}
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]
