"""Fashion-MNIST's files: the real ones where they are, small ones in the same format everywhere."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_experiments.data.fashion_mnist import DEBIAN_FOLDER, FILES, read_fashion_mnist
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError
from tests.data.make_datasets import config


def read(root: Path | None, kept: Path, **given: Any) -> StoredDataset:
    return read_fashion_mnist(config("fashion_mnist", root=root, **given), kept)


def write_idx(path: Path, array: np.ndarray) -> None:
    header = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()) if path.suffix == ".gz" else header + array.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, n in (("train", 60), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (n, 28, 28), np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", (np.arange(n) % 10).astype(np.uint8))
    return tmp_path


def test_reads_gzipped_and_plain_files(folder: Path) -> None:
    zipped = read(folder, folder)
    for name in FILES:
        (folder / name).write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))
        (folder / f"{name}.gz").unlink()
    plain = read(folder, folder)
    assert plain.train_images.shape == (60, 1, 28, 28) and plain.test_labels.tolist() == [*range(10)] * 2
    assert torch.equal(zipped.train_images, plain.train_images)


def test_smaller_images_are_means_of_areas(folder: Path) -> None:
    whole = read(folder, folder).test_images.double()
    small = read(folder, folder, image_size=14).test_images
    means = (whole[..., ::2, ::2] + whole[..., 1::2, ::2] + whole[..., ::2, 1::2] + whole[..., 1::2, 1::2]) / 4
    assert small.shape == (20, 1, 14, 14) and small.dtype == torch.uint8
    assert (small - means).abs().max() <= 0.5
    assert torch.equal(read(folder, folder, image_size=28).test_images.double(), whole)


@pytest.mark.skipif(not DEBIAN_FOLDER.exists(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_the_real_one_agrees_with_torchvision(tmp_path: Path) -> None:
    from torchvision.datasets import FashionMNIST

    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in FILES:
        (raw / name).write_bytes(gzip.decompress((DEBIAN_FOLDER / f"{name}.gz").read_bytes()))
    theirs = FashionMNIST(str(tmp_path), train=False)
    ours = read(None, tmp_path / "nothing")
    assert torch.equal(ours.test_images[:, 0], theirs.data) and torch.equal(ours.test_labels, theirs.targets)
    assert len(ours.train_labels) == 60_000


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: (f / f"{FILES[1]}.gz").unlink(), "is missing"),
        (lambda f: (f / f"{FILES[0]}.gz").write_bytes((f / f"{FILES[0]}.gz").read_bytes()[:500]), "cannot be read"),
        (lambda f: (f / f"{FILES[0]}.gz").write_bytes(b""), "not a complete"),
        (lambda f: (f / f"{FILES[0]}.gz").write_bytes(b"not gzip at all"), "cannot be read"),
        (lambda f: write_idx(f / f"{FILES[0]}.gz", np.zeros((60, 27, 27), np.uint8)), "not a complete"),
        (lambda f: write_idx(f / f"{FILES[1]}.gz", np.zeros(0, np.uint8)), "not a complete"),
        (lambda f: write_idx(f / f"{FILES[1]}.gz", np.zeros(59, np.uint8)), "60 train images but 59 labels"),
        (lambda f: write_idx(f / f"{FILES[1]}.gz", np.full(60, 77, np.uint8)), "a train label is 77"),
    ],
)
def test_spoiled_folders(folder: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    spoil(folder)
    with pytest.raises(UserError, match=words) as error:
        read(folder, folder)
    assert "\n" not in str(error.value)


def test_missing_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read(tmp_path / "nowhere", tmp_path)
    monkeypatch.setattr("kd_experiments.data.fashion_mnist.DEBIAN_FOLDER", tmp_path / "debian")
    with pytest.raises(UserError, match="looked in"):
        read(None, tmp_path)
