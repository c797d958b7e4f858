"""CIFAR-10 and CIFAR-100: the pixels torchvision gives, from a folder or an archive, and nothing executed."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from kd_experiments.data import cifar, safe_pickle
from kd_experiments.data.cifar import CIFAR10, CIFAR100, Release, read_cifar10, read_cifar100
from kd_experiments.errors import UserError
from tests.data.make_datasets import (
    RELEASES,
    cifar_content,
    config,
    pickled,
    write_cifar,
    write_cifar_archive,
)

READERS = {"cifar10": read_cifar10, "cifar100": read_cifar100}


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def use_archive_md5(monkeypatch: pytest.MonkeyPatch, release: Release, md5: str, url: str = "") -> None:
    """Let a made archive pass for the published one."""
    changed = replace(release, archive_md5=md5, url=url or release.url)
    monkeypatch.setattr(cifar, release.title.replace("-", ""), changed)


def test_the_pixels_are_torchvisions(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar(tmp_path, RELEASES[name])
    source = READERS[name](config(name, root=folder), tmp_path / "data")
    reference = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}[name]
    monkeypatch.setattr(reference, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.datasets.cifar, "check_integrity", lambda path, md5: True)
    for train, images, labels in (
        (True, source.train_images, source.train_labels),
        (False, source.test_images, source.test_labels),
    ):
        expected = reference(str(tmp_path), train=train)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert np.array_equal(images.numpy(), expected.data.transpose(0, 3, 1, 2))
        assert labels.tolist() == expected.targets
        assert list(source.class_names) == expected.classes
        pixels = torch.stack([torchvision.transforms.functional.pil_to_tensor(image) for image, _ in expected])
        assert torch.equal(images, pixels)


def test_cifar100_knows_its_coarse_classes(tmp_path: Path) -> None:
    write_cifar(tmp_path, CIFAR100)
    assert read_cifar100(config("cifar100", root=tmp_path), tmp_path).coarse == (0, 1, 2, 0, 1, 2, 0, 1, 2, 0)
    write_cifar(tmp_path, CIFAR10)
    assert read_cifar10(config("cifar10", root=tmp_path), tmp_path).coarse is None


@pytest.mark.parametrize("place", ["itself", "parent", "data_folder", "working directory"])
def test_the_folder_is_found(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = {"data_folder": tmp_path / "kept", "working directory": tmp_path / "data"}.get(place, tmp_path / "own")
    folder = write_cifar(where)
    root = {"itself": folder, "parent": where}.get(place)
    source = read_cifar10(config("cifar10", root=root), tmp_path / "kept")
    assert len(source.train_labels) == 100 and len(source.test_labels) == 20


@pytest.mark.parametrize("python3", [2, 3, 4])
def test_pickles_saved_again_by_python_3_are_read(python3: int, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    expected = read_cifar10(config("cifar10", root=folder), tmp_path)
    for file, content in cifar_content(CIFAR10, 20, 10).items():
        (folder / file).write_bytes(pickle.dumps(content, protocol=python3))
    source = read_cifar10(config("cifar10", root=folder), tmp_path)
    assert torch.equal(source.train_images, expected.train_images)
    assert torch.equal(source.test_labels, expected.test_labels)


def test_columns_first_arrays_are_read(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    expected = read_cifar10(config("cifar10", root=folder), tmp_path)
    content = cifar_content(CIFAR10, 20, 10)["data_batch_1"]
    content[b"data"] = np.asfortranarray(content[b"data"])
    (folder / "data_batch_1").write_bytes(pickled(content))
    assert torch.equal(read_cifar10(config("cifar10", root=folder), tmp_path).train_images, expected.train_images)


@pytest.mark.parametrize("root", ["folder", "file"])
def test_the_archive_is_read_where_it_is(name: str, root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = RELEASES[name]
    expected = READERS[name](config(name, root=write_cifar(tmp_path / "extracted", release)), tmp_path)
    archive, md5 = write_cifar_archive(tmp_path / "packed", release)
    use_archive_md5(monkeypatch, release, md5)
    given = archive if root == "file" else archive.parent
    source = READERS[name](config(name, root=given), tmp_path)
    assert torch.equal(source.train_images, expected.train_images)
    assert torch.equal(source.train_labels, expected.train_labels)
    assert torch.equal(source.test_images, expected.test_images)
    assert source.coarse == expected.coarse
    assert not (archive.parent / release.folder).exists()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address at which a web server of our own shows it."""
    (tmp_path / "mirror").mkdir()
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "mirror"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield tmp_path / "mirror", f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_a_download_is_read_from_its_archive(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, md5 = write_cifar_archive(mirror[0])
    use_archive_md5(monkeypatch, CIFAR10, md5, f"{mirror[1]}/{archive.name}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"add dataset\.download=true"):
        read_cifar10(config("cifar10"), tmp_path / "kept")
    source = read_cifar10(config("cifar10", download=True), tmp_path / "kept")
    assert len(source.train_labels) == 100
    assert (tmp_path / "kept" / CIFAR10.archive).exists()
    (tmp_path / "kept" / CIFAR10.archive).write_bytes(b"half of it")
    assert len(read_cifar10(config("cifar10", download=True), tmp_path / "kept").train_labels) == 100
    assert len(read_cifar10(config("cifar10"), tmp_path / "kept").train_labels) == 100
    archive.unlink()  # and from now on the one that was fetched is enough
    assert len(read_cifar10(config("cifar10", download=True), tmp_path / "kept").train_labels) == 100


def test_a_download_that_fails_says_what_to_do(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    use_archive_md5(monkeypatch, CIFAR10, "0" * 32, f"{mirror[1]}/nowhere.tar.gz")
    with pytest.raises(UserError, match=r"could not be downloaded.*yourself"):
        read_cifar10(config("cifar10", root=tmp_path, download=True), tmp_path)


def test_another_checksum_is_one_clear_error(name: str, tmp_path: Path) -> None:
    _, md5 = write_cifar_archive(tmp_path, RELEASES[name])
    with pytest.raises(UserError, match=f"MD5 is {md5}.*{RELEASES[name].archive_md5}"):
        READERS[name](config(name, root=tmp_path), tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_a_truncated_archive_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive, _ = write_cifar_archive(tmp_path)
    archive.write_bytes(archive.read_bytes()[:-20_000])
    with pytest.raises(UserError, match=r"its MD5 is .* incomplete"):
        read_cifar10(config("cifar10", root=tmp_path), tmp_path)
    use_archive_md5(monkeypatch, CIFAR10, cifar._md5(archive))  # even if it were published like that
    with pytest.raises(UserError, match="not a complete CIFAR pickle"):
        read_cifar10(config("cifar10", root=tmp_path), tmp_path)


def test_an_archive_without_a_batch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = [name for name in CIFAR10.files if name != "data_batch_3"]
    _, md5 = write_cifar_archive(tmp_path, order=order)
    use_archive_md5(monkeypatch, CIFAR10, md5)
    with pytest.raises(UserError, match="data_batch_3 missing in the archive"):
        read_cifar10(config("cifar10", root=tmp_path), tmp_path)


def test_changed_files_are_read_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_cifar(tmp_path)
    read_cifar10(config("cifar10", root=folder), tmp_path)
    assert "not as published" in capsys.readouterr().err


def test_a_wrong_folder_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read_cifar10(config("cifar10", root=tmp_path / "nowhere"), tmp_path)
    with pytest.raises(UserError, match=r"expected the folder cifar-10-batches-py.*but it is empty"):
        read_cifar10(config("cifar10", root=tmp_path), tmp_path)
    folder = write_cifar(tmp_path, CIFAR100)
    with pytest.raises(UserError, match=r"holds meta, readme\.html, test, train"):
        read_cifar10(config("cifar10", root=folder), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(UserError, match="data_batch_4 missing; a complete CIFAR-10 folder holds"):
        read_cifar10(config("cifar10", root=folder), tmp_path)


BAD = {
    "truncated": (lambda content: pickled(content)[:-500], "not a complete CIFAR pickle"),
    "empty": (lambda content: b"", "not a complete CIFAR pickle"),
    "no array": (lambda content: pickled({**content, b"data": [1, 2]}), "should be a uint8 array"),
    "other shape": (
        lambda content: pickled({**content, b"data": np.zeros((20, 100), np.uint8)}),
        r"uint8 array \(n, 3072\), found shape \(20, 100\)",
    ),
    "other type": (
        lambda content: pickle.dumps({**content, b"data": np.zeros((20, 3072), np.float32)}, 2),
        "something else than uint8",
    ),
    "fewer labels": (lambda content: pickled({**content, b"labels": [0] * 19}), "20 images but 19 labels"),
    "a label too large": (lambda content: pickled({**content, b"labels": [10] * 20}), "a label is 10"),
    "a negative label": (lambda content: pickled({**content, b"labels": [-1] * 20}), "whole numbers from 0 on"),
    "a huge label": (lambda content: pickled({**content, b"labels": [1 << 70] * 20}), "whole numbers from 0 on"),
    "no labels": (lambda content: pickled({b"data": content[b"data"]}), "b'labels' should be a list"),
    "not a dictionary": (lambda content: pickled([1, 2]), "not a dictionary"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_named(what: str, tmp_path: Path) -> None:
    change, message = BAD[what]
    folder = write_cifar(tmp_path)
    (folder / "data_batch_2").write_bytes(change(cifar_content(CIFAR10, 20, 10)["data_batch_2"]))
    with pytest.raises(UserError, match=f"data_batch_2.*{message}"):
        read_cifar10(config("cifar10", root=folder), tmp_path)


def test_coarse_classes_must_agree(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, CIFAR100)
    content = cifar_content(CIFAR100, 20, 10)["test"]
    content[b"coarse_labels"][0] += 1
    (folder / "test").write_bytes(pickled(content))
    with pytest.raises(UserError, match=r"the fine class fine \d is in the coarse classes \d and \d"):
        read_cifar100(config("cifar100", root=folder), tmp_path)
    content[b"coarse_labels"].pop()
    (folder / "test").write_bytes(pickled(content))
    with pytest.raises(UserError, match="20 fine but 19 coarse labels"):
        read_cifar100(config("cifar100", root=folder), tmp_path)


class Malicious:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_a_malicious_pickle_is_not_executed(protocol: int, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    trace = tmp_path / "executed"
    attack = pickle.dumps({b"data": Malicious(f"touch {trace}")}, protocol)
    (folder / "data_batch_1").write_bytes(attack)
    with pytest.raises(UserError, match=r"data_batch_1: refused.*system.*nothing of it was executed"):
        read_cifar10(config("cifar10", root=folder), tmp_path)
    assert not trace.exists()
    pickle.loads(attack)  # the attack is a real one
    assert trace.exists()


@pytest.mark.parametrize(
    "attack",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\ngetattr\n.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nscalar\n.",
        b"(S'x'\nios\nsystem\n.",  # INST
        b"c_codecs\nencode\n(S'x'\nS'zlib'\ntR.",
        b"\x80\x02\x82\x01.",  # EXT1: a class by registered number
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"Pname\n.",  # PERSID
        b"cnumpy\nndarray\n(tR.",  # an array made directly
        b"cnumpy\ndtype\n(S'O'\ntR.",
    ],
)
def test_nothing_but_arrays_and_containers_is_unpickled(attack: bytes, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    (folder / "data_batch_1").write_bytes(attack)
    with pytest.raises(UserError, match=r"data_batch_1: (refused|not a complete)"):
        read_cifar10(config("cifar10", root=folder), tmp_path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_that_python_3_writes_are_read(tmp_path: Path, protocol: int) -> None:
    """Converted or home-made copies: the same keys, written by whatever protocol, with NumPy labels or empty bytes."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 3072), np.uint8)
    content = {
        b"batch_label": b"",
        b"data": pixels,
        b"labels": [np.int64(i % 10) for i in range(20)],
        b"filenames": [b"x"],
    }
    path = tmp_path / "batch"
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    with open(path, "rb") as file:
        found = safe_pickle.load(file)
    assert np.array_equal(found["data"], pixels)
    assert found["labels"] == [i % 10 for i in range(20)] and found["batch_label"] == b""
