"""The cache: built once, mapped rather than copied, and never trusted when anything about it changed."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from kd_experiments.data import cache
from kd_experiments.data.cache import FOLDER, Facts, Stored, Writer, obtain
from kd_experiments.data.cifar import stored_cifar
from kd_experiments.data.cinic10 import stored_cinic10
from kd_experiments.errors import UserError
from tests.conftest import PATIENCE, SOAK
from tests.data.make_datasets import config, picture, write_cifar, write_cinic10

IMAGES = np.random.default_rng(0).integers(0, 256, (60, 3, 4, 4), dtype=np.uint8)
LABELS = np.arange(60) % 2


class Builder:
    """Writes the arrays in pieces and counts how often it is asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, writer: Writer) -> Facts:
        self.calls += 1
        for start in range(0, 60, 25):
            writer.append(IMAGES[start : start + 25], LABELS[start : start + 25])
        return Facts(50, ("a", "b"), (0, 0))


@pytest.fixture
def builder() -> Builder:
    return Builder()


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def get(origin: Path, builder: Builder, fingerprint: str = "f") -> Stored:
    stored = obtain(origin, "made", fingerprint, builder, origin.parent / "kept")
    assert np.array_equal(stored.images, IMAGES) and np.array_equal(stored.labels, LABELS)
    assert stored.facts == Facts(50, ("a", "b"), (0, 0))
    return stored


def test_it_is_built_once_and_stands_with_the_results(origin: Path, builder: Builder) -> None:
    first, second = get(origin, builder), get(origin, builder)
    assert builder.calls == 1 and first.built and not second.built
    assert first.folder == second.folder and first.folder.parent == origin.parent / "kept" / FOLDER
    assert {file.name for file in first.folder.iterdir()} == {"images.npy", "labels.npy", "meta.json"}
    assert {file.name for file in first.folder.parent.iterdir()} <= {first.folder.name, f"{first.folder.name}.lock"}
    source = second.source()
    assert (len(source.train_labels), len(source.test_labels), source.coarse) == (50, 10, (0, 0))


def test_tensors_may_be_written_but_the_files_never_are(origin: Path, builder: Builder) -> None:
    stored = get(origin, builder)
    stored.images.zero_()
    stored.labels.zero_()
    assert not stored.images.any()
    get(origin, builder)
    assert builder.calls == 1


def test_tensors_are_the_mapped_files(origin: Path, builder: Builder) -> None:
    stored = get(origin, builder)
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("no /proc here")
    ranges = [line.split()[0] for line in maps.read_text().splitlines() if str(stored.folder / "images.npy") in line]
    assert any(int(r.split("-")[0], 16) <= stored.images.data_ptr() < int(r.split("-")[1], 16) for r in ranges)
    assert stored.source().test_images.data_ptr() == stored.images[50:].data_ptr()


def flip_a_byte(path: Path, place: int = -1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def change_a_fact(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta["facts"]["train"] = 40
    (folder / "meta.json").write_text(json.dumps(meta))


DAMAGES = {
    "images truncated": lambda folder: os.truncate(folder / "images.npy", 1000),
    "images longer": lambda folder: (folder / "images.npy").open("ab").write(b"x"),
    "a pixel altered": lambda folder: flip_a_byte(folder / "images.npy"),
    "a header altered": lambda folder: flip_a_byte(folder / "images.npy", 70),
    "a label altered": lambda folder: flip_a_byte(folder / "labels.npy"),
    "labels missing": lambda folder: (folder / "labels.npy").unlink(),
    "a fact altered": change_a_fact,
    "meta empty": lambda folder: (folder / "meta.json").write_text(""),
    "meta not a mapping": lambda folder: (folder / "meta.json").write_text("[1]"),
    "meta binary": lambda folder: (folder / "meta.json").write_bytes(b"\xff\xfe\x00"),
    "meta missing": lambda folder: (folder / "meta.json").unlink(),
    "a file instead": lambda folder: (shutil.rmtree(folder), folder.write_text("x")),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_cache_is_built_again(
    what: str, origin: Path, builder: Builder, capsys: pytest.CaptureFixture[str]
) -> None:
    DAMAGES[what](get(origin, builder).folder)
    assert get(origin, builder).built and builder.calls == 2
    assert "out of date or damaged" in capsys.readouterr().err
    assert not get(origin, builder).built


def test_a_checksum_covers_more_than_one_chunk(origin: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHECKSUM_BYTES", 100)
    stored = get(origin, builder)
    assert len(json.loads((stored.folder / "meta.json").read_text())["checksums"]["images.npy"]) > 20
    flip_a_byte(stored.folder / "images.npy", 1111)
    assert get(origin, builder).built


def test_a_cache_of_other_data_is_not_taken(origin: Path, builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    get(origin, builder, "one source")
    assert get(origin, builder, "another source").built
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    assert get(origin, builder, "another source").built


def test_a_source_that_changes_is_noticed(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "cinic", per_class=1)

    def stored() -> Stored:
        return stored_cinic10(config("cinic10", root=root), tmp_path / "kept")

    assert stored().built and not stored().built
    altered = next((root / "train" / "frog").iterdir())
    picture(999).save(altered)
    again = stored()
    assert again.built and np.array_equal(again.images[6].permute(1, 2, 0), picture(999))
    altered.rename(altered.with_name("renamed.png"))
    assert stored().built
    picture(998).save(altered)
    assert stored().built and len(stored().facts.class_names) == 10 and stored().facts.train == 11
    (root / "valid" / "frog" / "more.txt").touch()  # no part of the data
    assert not stored().built
    assert stored_cinic10(config("cinic10", root=root, image_size=16), tmp_path / "kept").built
    assert not stored().built  # every size has its own


def test_nothing_is_written_beside_the_source(tmp_path: Path, builder: Builder) -> None:
    folder = write_cifar(tmp_path / "here")
    before = {(path, path.stat().st_mtime_ns) for path in (tmp_path / "here").rglob("*")}
    assert stored_cifar(config("cifar10", root=folder), tmp_path / "kept").built
    assert {(path, path.stat().st_mtime_ns) for path in (tmp_path / "here").rglob("*")} == before
    (tmp_path / "data.tar.gz").touch()
    obtain(tmp_path / "data.tar.gz", "made", "f", builder, tmp_path / "kept")
    assert {path.name for path in tmp_path.iterdir()} == {"here", "kept", "data.tar.gz"}


def test_two_sources_do_not_share_a_place(origin: Path, builder: Builder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    assert get(other, builder).folder != get(origin, builder).folder
    assert not get(origin, builder).built


def test_nowhere_to_write_is_one_clear_error(origin: Path, builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(UserError, match=r"cannot be written.*paths.results=FOLDER"):
        get(origin, builder)


def test_a_full_disk_is_one_clear_error(origin: Path, builder: Builder) -> None:
    def build(writer: Writer) -> Facts:
        writer.append(IMAGES, LABELS)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(UserError, match="no space left on the device"):
        obtain(origin, "made", "f", build, origin.parent / "kept")
    assert {file.suffix for file in (origin.parent / "kept" / FOLDER).iterdir()} <= {".lock"}
    get(origin, builder)


def test_an_interrupted_build_leaves_nothing_behind(origin: Path, builder: Builder) -> None:
    def build(writer: Writer) -> Facts:
        writer.append(IMAGES, LABELS)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(origin, "made", "f", build, origin.parent / "kept")
    assert {file.suffix for file in (origin.parent / "kept" / FOLDER).iterdir()} <= {".lock"}
    place = get(origin, builder).folder
    part = place.with_name(f".{place.name}.part")
    part.mkdir()  # of a process that was killed
    (part / "images.npy").write_bytes(b"half")
    get(origin, builder, "changed")
    assert not part.exists()


def test_pieces_must_fit_together(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.append(IMAGES, LABELS)
    with pytest.raises(ValueError, match="do not fit"):
        writer.append(IMAGES[:, :, :2], LABELS)
    with pytest.raises(ValueError, match="do not fit"):
        writer.append(IMAGES, LABELS[:-1])
    writer.close()


def test_a_source_file_that_vanished_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.png: cannot be read"):
        cache.fingerprint(tmp_path, ["gone.png"])


PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from kd_experiments.data.cache import Facts, obtain

root = Path(sys.argv[1])

def build(writer):
    (root / f"built-{sys.argv[2]}").touch()
    time.sleep(1.5)
    writer.append(np.full((4, 3, 2, 2), 7, np.uint8), np.array([0, 1, 0, 1]))
    return Facts(2, ("a", "b"))

(root / f"ready-{sys.argv[2]}").touch()
while not (root / "go").exists():
    time.sleep(0.01)
assert (obtain(root, "made", "f", build, root / "kept").images == 7).all()
"""


@pytest.mark.slow
def test_many_processes_build_it_once(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """With `make soak` ten, of which the builder and two others are killed: the next in turn builds it, once."""
    count, killed = (10, 3) if SOAK else (2, 0)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(cache.__file__).parents[2])}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), str(number)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    while len(list(tmp_path.glob("ready-*"))) < count and all(process.poll() is None for process in processes):
        time.sleep(0.05)
    (tmp_path / "go").touch()
    gone: list[int] = []
    if killed:
        while not (first := list(tmp_path.glob("built-*"))):
            time.sleep(0.01)
        builder = int(first[0].name.removeprefix("built-"))
        others = [number for number in range(count) if number != builder]
        gone = [*others[: killed - 1], builder]  # the builder last: none of the others may take its place before
        for number in gone:
            processes[number].kill()
    said = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    assert all(process.returncode == 0 for number, process in enumerate(processes) if number not in gone), said
    assert killed or sum("waiting for the process that builds" in text for text in said) == 1
    assert len(list(tmp_path.glob("built-*"))) == 1 + bool(killed)
    record_property("starts of one cache of data, some of them killed: built once more than its builder was", count)


def test_cifar_is_cached_too(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    given = config("cifar10", root=folder)
    first = stored_cifar(given, tmp_path)
    assert first.built and not stored_cifar(given, tmp_path).built
    status = (folder / "test_batch").stat()
    os.utime(folder / "test_batch", ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000_000))
    again = stored_cifar(given, tmp_path)
    assert again.built and torch.equal(again.images, first.images)
