"""Shards hold the same images in the same places, made smaller; whoever reads them reads them in one go."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kd_experiments import files
from kd_experiments.data import decode, shards
from kd_experiments.data.dataset import Data
from kd_experiments.data.image_files import ImageFiles
from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import load
from kd_experiments.data.prepare import prepare
from kd_experiments.data.streamed import StreamedData
from kd_experiments.errors import UserError
from tests.data.make_datasets import config, write_imagenet


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_imagenet(tmp_path / "imagenet")


def read(root: Path, **given: object) -> Data:
    settings = {"image_size": 32, "val_fraction": 0.25, "workers": 0, **given}
    return load(config("imagenet", root=root, **settings), NoNoise(), root.parent / "kept")


def prepared(raw: Path, *more: str) -> Path:
    out = raw.parent / "small"
    lines = prepare("imagenet", [f"root={raw}", "image_size=32", "size=64", f"out={out}", *more])
    assert any(f"dataset.root={out}" in line for line in lines)
    return out


def test_shards_are_the_data_set_made_smaller(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "IN_A_SHARD", 5)
    small, large = read(prepared(raw)), read(raw)
    for part in ("train", "val", "test"):
        ours, theirs = getattr(small, part), getattr(large, part)
        assert torch.equal(ours.labels, theirs.labels) and torch.equal(ours.origin, theirs.origin)
        assert isinstance(ours.images, ImageFiles) and isinstance(theirs.images, ImageFiles)
        for place in range(len(ours)):
            with decode.opened(ours.images.path(place)) as image:
                assert min(image.size) == 64
        # twice resized and compressed: nearly the same picture, and another than its neighbour's
        shown, same, next_one = (
            decode.centre(images.path(place), 32).astype(float)
            for images, place in ((ours.images, 0), (theirs.images, 0), (theirs.images, 1))
        )
        apart, other = abs(shown - same).mean(), abs(shown - next_one).mean()
        assert apart < 4 < other
    assert small.class_names == large.class_names


def test_the_files_are_webdatasets(raw: Path) -> None:
    out = prepared(raw)
    with tarfile.open(out / "train" / "64-000000.tar") as shard:
        names = shard.getnames()
        assert sorted(names) == sorted(f"{number:08d}.{end}" for number in range(36) for end in ("cls", "jpg"))
        for image, label in zip(names[::2], names[1::2], strict=True):
            assert image[:8] == label[:8]  # a sample's members stand beside each other
            content = shard.extractfile(label)
            assert content is not None and int(content.read()) == int(image[:8]) // 12
    assert names != sorted(names), "classes are mixed"


def test_an_epoch_reads_one_window_of_shards_after_the_other(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "IN_A_SHARD", 4)
    monkeypatch.setattr("kd_experiments.data.streamed.WINDOW", 2)
    data = read(prepared(raw), val_fraction=0.1)
    assert isinstance(data, StreamedData) and isinstance(data.train.images, ImageFiles)
    numbers = data.train.images.shards()
    assert numbers is not None
    orders = [data.order(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    for order in orders:
        assert sorted(order.tolist()) == list(range(len(data.train)))
        visited = numbers[order].tolist()
        spans = {shard: [place for place, one in enumerate(visited) if one == shard] for shard in set(visited)}
        assert all(places[-1] - places[0] < 8 for places in spans.values())  # two shards of four images
    assert read(raw).train.images.shards() is None  # type: ignore[union-attr]


def test_a_run_on_shards_reads_each_shard_ahead_once(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "IN_A_SHARD", 8)
    data = read(prepared(raw))
    asked: list[int] = []
    decode._read_ahead.cache_clear()
    monkeypatch.setattr(os, "posix_fadvise", lambda *arguments: asked.append(arguments[3]), raising=False)
    order = data.order(torch.Generator().manual_seed(0))
    shown = [images for _, images in data.training_batches(order, 0, 0, 8)]
    assert sum(map(len, shown)) == len(data.train) and all(images.isfinite().all() for images in shown)
    assert len(asked) == 5 and set(asked) == {os.POSIX_FADV_WILLNEED}


def test_an_interrupted_writer_goes_on(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "IN_A_SHARD", 8)
    write, done = shards._write_shard, []

    def stops(path: Path, *arguments: object) -> None:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(path.name)
        write(path, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "_write_shard", stops)
    with pytest.raises(KeyboardInterrupt):
        prepared(raw)
    assert not shards.are_there(raw.parent / "small")
    done.clear()
    monkeypatch.setattr(shards, "_write_shard", lambda path, *rest: (done.append(path.name), write(path, *rest)))
    out = prepared(raw)
    assert len(done) == 5 and len(list(out.rglob("*.tar"))) == 7 and not list(out.rglob("*.part"))
    assert len(read(out).train) == 27


def test_broken_images_are_named_or_left_out(raw: Path) -> None:
    broken = raw / "train" / "n02" / "n02_3.JPEG"
    broken.write_bytes(broken.read_bytes()[:300])
    with pytest.raises(UserError, match=r"n02_3\.JPEG .*cannot be decoded.*skip_corrupt=true"):
        prepared(raw)
    out = prepared(raw, "skip_corrupt=true")
    assert len(np.load(out / "shards.npz")["labels"]) == 36 + 12 - 1
    with pytest.raises(UserError, match="1 images are not in its shards"):
        prepared(raw)


def test_small_images_stay_as_they_are(raw: Path) -> None:
    path = raw / "val" / "n01" / "n01_0.JPEG"
    Image.new("RGB", (50, 80), (10, 200, 30)).save(path)
    out = prepared(raw)
    with tarfile.open(out / "val" / "64-000000.tar") as shard:
        content = shard.extractfile("00000036.jpg")
        assert content is not None and content.read() == path.read_bytes()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        (
            "imagenet",
            ["size=20", "image_size=32"],
            "size=20: give the shorter side of the images in pixels, 36 at least",
        ),
        ("imagenet", ["size=" + "9" * 5000], "size=9{80}\\.\\.\\.: give the shorter side .* 8192 at most"),
        ("imagenet", ["size=large"], "size=large: give the shorter side"),
        ("imagenet", ["out=x"], "size=: give the shorter side"),
        ("cifar10", ["size=64"], "only imagenet and image_folder_streamed are kept as shards; cifar10"),
    ],
)
def test_mistakes_are_explained(name: str, settings: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        prepare(name, settings)


def test_damage_is_one_clear_line(raw: Path) -> None:
    """The index and the images have check sums; a shard that is removed is written again, the same."""
    out = prepared(raw)
    index, shard = out / "shards.npz", out / "train" / "64-000000.tar"
    whole = {path: path.read_bytes() for path in (index, shard)}
    right = first_of(read(out).train.images)
    index.write_bytes(flipped(whole[index], len(whole[index]) // 2))
    with pytest.raises(UserError, match=r"shards\.npz: damaged; prepare the shards again"):
        read(out)
    index.write_bytes(whole[index])
    kept = files.load_arrays(index, "train", "names", "labels", "classes", "size")
    assert kept is not None
    files.save_arrays(index, **kept | {"labels": kept["labels"] + 2**40})  # by somebody else, with a sum that is right
    with pytest.raises(UserError, match=r"shards\.npz: damaged; prepare the shards again"):
        read(out)
    prepared(raw)
    images = read(out).train.images
    assert isinstance(images, ImageFiles)
    offset = int(images.names[0].split(b":")[1])
    shard.write_bytes(flipped(whole[shard], offset + 900))
    with pytest.raises(UserError, match=rf"64-000000\.tar: damaged at byte {offset}; remove it and prepare the shards"):
        first_of(images)
    shard.write_bytes(whole[shard][:5000])
    with pytest.raises(UserError, match=r"64-000000\.tar: damaged .*; remove it"):
        prepared(raw)
    shard.unlink()
    prepared(raw)
    assert np.array_equal(first_of(read(out).train.images), right) and shard.read_bytes() == whole[shard]


def first_of(images: object) -> np.ndarray:
    assert isinstance(images, ImageFiles)
    return decode.centre(images.path(0), images.size)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def test_shards_too_small_for_the_run_are_refused(raw: Path) -> None:
    with pytest.raises(UserError, match=r"made 64 pixels small.*prepare them with size=73"):
        read(prepared(raw), image_size=64)
