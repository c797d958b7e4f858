"""CIFAR-10 and CIFAR-100: the pixels torchvision gives, from the published files and from no others."""

from __future__ import annotations

import errno
import functools
import http.server
import os
import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torchvision.datasets import CIFAR10, CIFAR100, utils

from kd_experiments.data import cifar
from kd_experiments.data.cifar import COARSE, read_cifar
from kd_experiments.errors import UserError
from tests.data.make_datasets import config, publish, write_cifar, write_cifar_archive

RELEASES: dict[str, Any] = {"cifar10": CIFAR10, "cifar100": CIFAR100}


@pytest.fixture(params=["cifar10", "cifar100"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_the_pixels_are_torchvisions(name: str, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path, RELEASES[name])
    source = read_cifar(config(name, root=folder), tmp_path / "data")
    for train, images, labels in (
        (True, source.train_images, source.train_labels),
        (False, source.test_images, source.test_labels),
    ):
        expected = RELEASES[name](str(tmp_path), train=train)
        assert images.dtype == torch.uint8 and labels.dtype == torch.int64
        assert np.array_equal(images.numpy(), expected.data.transpose(0, 3, 1, 2))
        assert labels.tolist() == expected.targets
        assert list(source.class_names) == expected.classes
        pixels = torch.stack([torchvision.transforms.functional.pil_to_tensor(image) for image, _ in expected])
        assert torch.equal(images, pixels)


def test_cifar100_knows_its_coarse_classes(tmp_path: Path) -> None:
    write_cifar(tmp_path, CIFAR100)
    assert read_cifar(config("cifar100", root=tmp_path), tmp_path).coarse == COARSE[:10]
    write_cifar(tmp_path, CIFAR10)
    assert read_cifar(config("cifar10", root=tmp_path), tmp_path).coarse is None
    assert set(Counter(COARSE).values()) == {5} and set(COARSE) == set(range(20))
    # beaver, dolphin, otter, seal, whale; and maple, oak, palm, pine, willow
    assert [COARSE[fine] for fine in (4, 30, 55, 72, 95)] == [0] * 5
    assert [COARSE[fine] for fine in (47, 52, 56, 59, 96)] == [17] * 5


@pytest.mark.parametrize("place", ["itself", "parent", "data_folder", "working directory"])
def test_the_folder_is_found(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    where = {"data_folder": tmp_path / "kept", "working directory": tmp_path / "data"}.get(place, tmp_path / "own")
    folder = write_cifar(where)
    if place == "itself":
        folder = folder.rename(where / "under another name")
    root = {"itself": folder, "parent": where}.get(place)
    source = read_cifar(config("cifar10", root=root), tmp_path / "kept")
    assert len(source.train_labels) == 100 and len(source.test_labels) == 20


@pytest.mark.parametrize("root", ["folder", "file"])
def test_an_archive_is_unpacked_into_the_data_folder(name: str, root: str, tmp_path: Path) -> None:
    archive = write_cifar_archive(tmp_path / "packed", RELEASES[name])
    given = config(name, root=archive if root == "file" else archive.parent)
    for _ in range(2):  # the second time it is there
        assert len(read_cifar(given, tmp_path / "kept").test_labels) == 20
    assert (tmp_path / "kept" / RELEASES[name].base_folder).is_dir()
    assert not (archive.parent / RELEASES[name].base_folder).exists()


def test_what_was_unpacked_by_half_is_unpacked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves nothing; of what a version before this one left, whoever has waited for the lock makes it."""
    archive = write_cifar_archive(tmp_path / "packed")
    given, kept = config("cifar10", root=archive), tmp_path / "kept" / CIFAR10.base_folder
    unpack = utils.extract_archive

    def full(source: str, target: str) -> None:
        unpack(source, target)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(utils, "extract_archive", full)
    with pytest.raises(UserError, match="no space left"):
        read_cifar(given, tmp_path / "kept")
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".lock"]
    monkeypatch.setattr(utils, "extract_archive", unpack)
    kept.mkdir()
    (kept / "data_batch_1").touch()
    assert len(read_cifar(given, tmp_path / "kept").test_labels) == 20
    monkeypatch.setattr(utils, "extract_archive", full)
    assert cifar._unpack(CIFAR10, archive, kept) == kept, "while it waited another process has unpacked it"


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


def test_a_download_is_verified_and_unpacked(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = write_cifar_archive(mirror[0])
    monkeypatch.setattr(CIFAR10, "url", f"{mirror[1]}/{archive.name}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"add dataset\.download=true"):
        read_cifar(config("cifar10"), tmp_path / "kept")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / CIFAR10.filename).write_bytes(b"half of it")
    assert len(read_cifar(config("cifar10", download=True), tmp_path / "kept").train_labels) == 100
    archive.unlink()  # and from now on the one that was fetched is enough
    assert len(read_cifar(config("cifar10"), tmp_path / "kept").train_labels) == 100


def test_a_download_that_fails_says_what_to_do(
    tmp_path: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CIFAR10, "url", f"{mirror[1]}/nowhere.tar.gz")
    with pytest.raises(UserError, match=r"could not be downloaded.*yourself"):
        read_cifar(config("cifar10", root=tmp_path, download=True), tmp_path)


def test_another_archive_is_one_clear_error(name: str, tmp_path: Path) -> None:
    archive = write_cifar_archive(tmp_path, RELEASES[name])
    archive.write_bytes(archive.read_bytes()[:-2000])
    with pytest.raises(UserError, match=f"MD5 is .*{RELEASES[name].tgz_md5}; the file is incomplete"):
        read_cifar(config(name, root=tmp_path), tmp_path)
    assert not (tmp_path / RELEASES[name].base_folder).exists()


def test_a_wrong_folder_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read_cifar(config("cifar10", root=tmp_path / "nowhere"), tmp_path)
    with pytest.raises(UserError, match=r"expected the folder cifar-10-batches-py.*but it is empty"):
        read_cifar(config("cifar10", root=tmp_path), tmp_path)
    folder = write_cifar(tmp_path, CIFAR100)
    with pytest.raises(UserError, match=r"holds meta, test, train"):
        read_cifar(config("cifar10", root=folder), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    (folder / "data_batch_4").unlink()
    with pytest.raises(UserError, match="data_batch_4 missing; a complete CIFAR10 folder holds"):
        read_cifar(config("cifar10", root=folder), tmp_path)


class Malicious:
    """Runs a command when an ordinary unpickler reads it."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("file", ["data_batch_1", "test_batch", "batches.meta"])
def test_another_file_is_never_opened(file: str, tmp_path: Path) -> None:
    folder = write_cifar(tmp_path)
    trace = tmp_path / "executed"
    (folder / file).write_bytes(pickle.dumps({"data": Malicious(f"touch {trace}")}))
    with pytest.raises(UserError, match=rf"{file}: its MD5 is .* another one is not opened; .* dataset=image_folder"):
        read_cifar(config("cifar10", root=folder), tmp_path)
    assert not trace.exists()
    publish(folder, CIFAR10)  # the attack is a real one
    with pytest.raises(Exception):  # noqa: B017  # whatever its result leads to
        read_cifar(config("cifar10", root=folder), tmp_path)
    assert trace.exists()
