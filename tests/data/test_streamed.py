"""Streamed data: the right pixels, in order, whoever decodes them; broken files and folders; no process is left."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from kd_experiments.data import sound_files, streamed
from kd_experiments.data.dataset import Data, channel_statistics
from kd_experiments.data.decode import centre
from kd_experiments.data.image_files import ImageFiles
from kd_experiments.data.label_noise import NoNoise, Symmetric
from kd_experiments.data.load import load
from kd_experiments.errors import UserError
from tests.data.make_datasets import config, picture, write_imagenet


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_imagenet(tmp_path_factory.mktemp("data") / "imagenet")


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(root, tmp_path / "own"))


def read(root: Path, **given: object) -> Data:
    settings = {"image_size": 32, "val_fraction": 0.25, "workers": 0, **given}
    return load(config("imagenet", root=root, **settings), NoNoise(), root.parent / "kept")


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def images_of(data: Data, **given: int) -> torch.Tensor:
    order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(0))
    return torch.cat(
        [images for _, images in data.training_batches(order, **{"seed": 1, "epoch": 2, "batch_size": 10, **given})]
    )


@pytest.mark.parametrize(("width", "height"), [(300, 260), (211, 280), (256, 256), (200, 500), (224, 224), (333, 257)])
def test_a_still_image_is_torchvisions(width: int, height: int, tmp_path: Path) -> None:
    image = picture(0, width, height)
    image.save(tmp_path / "image.png")
    expected = transforms.CenterCrop(224)(transforms.Resize(256)(image))
    assert np.array_equal(centre(tmp_path / "image.png", 224), np.asarray(expected).transpose(2, 0, 1))


def test_still_batches_are_what_torchvision_reads(root: Path) -> None:
    data = read(root, image_size=224)
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    reference = datasets.ImageFolder(str(root / "val"), transforms.Compose([*steps, normalise]))
    expected = torch.stack([image for image, _ in reference])
    torch.testing.assert_close(torch.cat(list(data.evaluation_batches(data.test, 5))), expected, rtol=1e-5, atol=1e-5)
    assert data.test.labels.tolist() == reference.targets
    assert list(data.class_names) == reference.classes


def test_splits_and_labels_are_those_of_the_files(root: Path) -> None:
    data = read(root, train_size=20)
    assert (len(data.train), len(data.val), len(data.test), data.classes) == (20, 9, 12, 3)
    assert not set(data.train.origin.tolist()) & set(data.val.origin.tolist())
    for split in (data.train, data.val, data.test):
        assert isinstance(split.images, ImageFiles)
        found = [data.class_names.index(split.images.path(i).parent.name) for i in range(len(split))]
        assert split.labels.tolist() == found
    settings = config("imagenet", root=root, image_size=32, val_fraction=0.25, workers=0)
    noisy = load(settings, Symmetric(rate=0.5, seed=0), root.parent / "kept")
    assert int((noisy.train.labels != noisy.train.true_labels).sum()) == 13
    assert torch.equal(noisy.val.labels, noisy.val.true_labels)


@pytest.mark.parametrize("piece", [4, 64])
def test_workers_and_batches_change_no_bit(root: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = images_of(read(root))
    monkeypatch.setattr(streamed, "PIECE", piece)
    before = children()
    data = read(root, workers=2)
    assert torch.equal(images_of(data), expected)
    assert torch.equal(images_of(data, batch_size=3), expected)
    assert not torch.equal(images_of(data, epoch=3), expected)
    still = [torch.cat(list(read(root, workers=workers).evaluation_batches(data.val, 4))) for workers in (0, 2)]
    assert torch.equal(*still)
    assert children() == before


def test_no_process_is_left_by_an_error_or_a_break(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamed, "PIECE", 2)
    data, before = read(own, workers=2), children()
    for _ in data.evaluation_batches(data.train, 2):
        assert children() > before
        break
    gc.collect()
    assert children() == before

    def interrupted() -> None:
        for _ in data.training_batches(torch.arange(20), 0, 0, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as stop:  # held, with its traceback
        interrupted()
    assert stop.value is not None and children() == before

    assert isinstance(data.train.images, ImageFiles)
    data.train.images.path(9).write_bytes(b"")
    with pytest.raises(UserError) as error:
        list(data.evaluation_batches(data.train, 2))
    assert children() == before
    assert str(error.value).startswith(f"{data.train.images.path(9)} (it has 0 bytes): this image cannot be decoded")
    assert "dataset.skip_corrupt=true" in str(error.value) and "\n" not in str(error.value)


def test_workers_leave_signals_to_the_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler sends SIGTERM to every process; the run finishes its step, and ends them itself."""
    monkeypatch.setattr(streamed, "PIECE", 2)
    data, before, shown = read(root, workers=2), children(), 0
    for images in data.evaluation_batches(data.train, 2):
        shown += len(images)
        for process in children() - before if shown == 6 else ():
            os.kill(int(process), signal.SIGTERM)
    assert shown == len(data.train) and children() == before


def test_dropout_does_not_see_the_loader(root: Path) -> None:
    data = read(root)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    images_of(data)
    assert torch.equal(torch.get_rng_state(), state)


def test_no_image_is_held_beyond_its_batch(root: Path) -> None:
    data = read(root)
    earlier: list[weakref.ref[torch.Tensor]] = []
    for images in data.evaluation_batches(data.train, 4):
        assert not any(kept() is not None for kept in earlier[:-1])
        earlier.append(weakref.ref(images))
    del images
    assert len(earlier) == 7 and not any(kept() is not None for kept in earlier)


def test_corrupt_images_are_left_out_of_every_split(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = read(own)
    victims = [own / "train" / "n02" / "n02_3.JPEG", own / "val" / "n03" / "n03_0.JPEG"]
    victims[0].write_bytes(victims[0].read_bytes()[:500])
    victims[1].write_bytes(b"<html>not found</html>")
    for _ in range(2):  # checked, then remembered
        data = read(own, skip_corrupt=True)
        warning = capsys.readouterr().err
        assert "2 of 48 images cannot be decoded and are left out, the first is train/n02/n02_3.JPEG (" in warning
        assert len(data.train) + len(data.val) == 35 and len(data.test) == 11
        assert images_of(data).isfinite().all() and len(list(data.evaluation_batches(data.test, 4))) == 3
    picture(0, 300, 260).save(victims[0])
    picture(0, 300, 260).save(victims[1])
    data = read(own, skip_corrupt=True)  # a changed file is noticed
    assert not capsys.readouterr().err
    assert torch.equal(data.train.labels, whole.train.labels) and torch.equal(data.train.origin, whole.train.origin)


def test_what_was_checked_is_not_checked_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read(own, skip_corrupt=True)

    def never(path: Path) -> Image.Image:
        raise AssertionError(f"{path} was checked again")

    monkeypatch.setattr(sound_files, "open_rgb", never)
    read(own, skip_corrupt=True)


def test_a_class_must_not_be_left_out_whole(own: Path) -> None:
    for file in (own / "val" / "n01").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match="no test image of class n01 can be decoded"):
        read(own, skip_corrupt=True)


def test_a_wrong_folder_is_one_clear_line(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"dataset.root=.*nowhere: there is no such folder"):
        read(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"expected the folders train and val .*, but it holds n01, n02, n03"):
        read(own / "train")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"dataset=imagenet: not found \(looked in kept, .*dataset.root=FOLDER"):
        load(config("imagenet"), NoNoise(), Path("kept"))
    for file in (own / "train" / "n02").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"train/n02: no image in it \(it is empty\)"):
        read(own)
    (own / "val" / "n03").rename(own / "val" / "n04")
    with pytest.raises(UserError, match=r"val: n03 missing and n04 unexpected; its 3 class folders should be the 3 of"):
        read(own)
    shutil.rmtree(own / "val" / "n04")
    with pytest.raises(UserError, match=r"val: n03 missing"):
        read(own)


def test_statistics_are_of_a_bounded_number_of_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = read(root, mean=None, std=None)
    files = data.train.images
    images = torch.stack([torch.from_numpy(centre(files.path(i), files.size)) for i in range(len(files))])
    mean, std = channel_statistics(images)
    torch.testing.assert_close((data.mean, data.std), (mean, std))
    monkeypatch.setattr(streamed, "STATISTICS_OF", 5)
    few = read(root, mean=None, std=None)
    assert not torch.equal(few.mean, data.mean)
    assert torch.equal(few.mean, read(root, mean=None, std=None, workers=2).mean)


def test_a_knob_it_does_not_have_is_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.crop_padding: no such key"):
        read(root, crop_padding=4)
    with pytest.raises(UserError, match=r"dataset.workers=-1: must be at least 0"):
        read(root, workers=-1)
