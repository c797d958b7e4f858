"""Data files that would never end, or take all memory: refused by kind, size or count before they are read."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from kd_experiments.data.decode import BrokenImage, centre, decode, open_rgb
from kd_experiments.data.fashion_mnist import FILES, read_fashion_mnist
from kd_experiments.data.image_tree import images_below
from kd_experiments.data.tiny_imagenet import ANNOTATIONS, stored_tiny_imagenet
from kd_experiments.errors import UserError
from tests.data.make_datasets import config, picture, write_tiny_imagenet

pytestmark = pytest.mark.usefixtures("modest")


def make(path: Path, kind: str) -> Path:
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    return path


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_an_image_that_never_ends(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BrokenImage, match="no ordinary file"):
        open_rgb(make(tmp_path / "x.png", kind))


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_shard_that_never_ends(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BrokenImage, match="no ordinary file"):
        open_rgb(Path(f"{make(tmp_path / 'x.tar', kind)}:0:100"))


def test_a_part_of_a_shard_that_is_larger_than_an_image(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(bytes(100))
    with pytest.raises(BrokenImage, match="over 256 MiB"):
        open_rgb(tmp_path / f"x.tar:0:{10**12}")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_annotations_that_never_end(tmp_path: Path, kind: str) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny")
    (root / ANNOTATIONS).unlink()
    make(root / ANNOTATIONS, kind)
    with pytest.raises(UserError, match=rf"{ANNOTATIONS}: cannot be read \(no ordinary file\)"):
        stored_tiny_imagenet(config("tiny_imagenet", root=root), tmp_path)


def test_an_image_so_narrow_that_it_grows(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1_000_000)).save(tmp_path / "x.png")
    with pytest.raises(BrokenImage, match="1x1000000, so narrow that resized it is 32x32000000"):
        decode(tmp_path / "x.png", 32, resize=True)
    with pytest.raises(BrokenImage, match="so narrow"):
        centre(tmp_path / "x.png", 224)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_an_idx_file_that_never_ends(tmp_path: Path, kind: str) -> None:
    make(tmp_path / FILES[0], kind)
    with pytest.raises(UserError, match=rf"{FILES[0]}: cannot be read \(no ordinary file\)"):
        read_fashion_mnist(config("fashion_mnist", root=tmp_path), tmp_path)


def test_packed_zeros(tmp_path: Path) -> None:
    with gzip.open(tmp_path / f"{FILES[0]}.gz", "wb", compresslevel=1) as file:
        for _ in range(80):
            file.write(bytes(1 << 20))
    with pytest.raises(UserError, match="not a complete Fashion-MNIST IDX file"):
        read_fashion_mnist(config("fashion_mnist", root=tmp_path), tmp_path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_an_image_of_170_million_pixels(tmp_path: Path) -> None:
    """Its head says so: nothing is decoded."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", 13_000, 13_000, 8, 2, 0, 0, 0)
    data = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(BrokenImage, match="13000x13000 are over 64 million pixels"):
        open_rgb(tmp_path / "x.png")


def test_links_of_a_class_folder(tmp_path: Path) -> None:
    folder = tmp_path / "cat"
    (folder / "more").mkdir(parents=True)
    picture(0).save(folder / "b.png")
    picture(1).save(folder / "more" / "a.png")
    (folder / "c.png").symlink_to("b.png")
    assert images_below(folder) == ["b.png", "c.png", os.path.join("more", "a.png")]
    (tmp_path / "linked").symlink_to(folder)
    assert images_below(tmp_path / "linked") == images_below(folder)
    (folder / "loop").symlink_to(folder)
    with pytest.raises(UserError, match="loop: a link to a folder"):
        images_below(folder)
    (folder / "loop").unlink()
    picture(2).save(tmp_path / "outside.png")
    (folder / "d.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(UserError, match=r"d\.png: a link out of its class folder"):
        images_below(folder)
