"""CINIC-10, Tiny ImageNet and image folders: torchvision's pixels and order, and every bad folder by name."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from kd_experiments.data import image_tree
from kd_experiments.data.cinic10 import CLASS_NAMES
from kd_experiments.data.decode import BrokenImage, decode
from kd_experiments.data.image_folder import list_image_folder
from kd_experiments.data.image_tree import ImageTree
from kd_experiments.data.load import READERS
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError
from tests.data.make_datasets import config, picture, write_cinic10, write_image_folder, write_tiny_imagenet

WRITERS = {"cinic10": write_cinic10, "tiny_imagenet": write_tiny_imagenet, "image_folder": write_image_folder}


@pytest.fixture(params=list(WRITERS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def read(name: str, root: Path, **given: object) -> StoredDataset:
    return READERS[name](config(name, root=root, **given), root.parent / "kept")


def assert_same(folder: Path, steps: list[object], images: torch.Tensor, labels: torch.Tensor, classes: object) -> None:
    """Against torchvision's own loader of the same folder."""
    reference = datasets.ImageFolder(str(folder), transforms.Compose([*steps, transforms.PILToTensor()]))
    assert torch.equal(images, torch.stack([image for image, _ in reference]))
    assert labels.tolist() == reference.targets
    assert list(classes) == reference.classes  # type: ignore[call-overload]
    assert images.dtype == torch.uint8 and labels.dtype == torch.int64


def test_cinic10_is_what_torchvision_reads(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "CINIC-10")
    source = read("cinic10", root)
    assert_same(root / "train", [], source.train_images, source.train_labels, source.class_names)
    assert_same(root / "test", [], source.test_images, source.test_labels, source.class_names)


def test_tiny_imagenet_is_what_torchvision_reads(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny-imagenet-200")
    source = read("tiny_imagenet", root)
    assert_same(root / "train", [], source.train_images, source.train_labels, ["n01", "n02", "n03"])
    assert source.class_names == ("goldfish", "crane (n02)", "crane (n03)")
    for image, label, i in zip(source.test_images, source.test_labels, range(6), strict=True):
        assert label == {"n01": 0, "n02": 1, "n03": 2}[("n02", "n01", "n03")[i % 3]]
        with Image.open(root / "val" / "images" / f"val_{i}.JPEG") as expected:
            assert np.array_equal(image.permute(1, 2, 0), expected.convert("RGB"))


def test_image_folder_is_what_torchvision_reads(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "own")
    for part in ("train", "val"):
        shutil.rmtree(root / part / ".hidden")
        (root / part / "bee" / "palette.gif").unlink()  # torchvision does not list GIFs
    source = read("image_folder", root, image_size=24)
    steps = [transforms.Resize(24), transforms.CenterCrop(24)]
    assert_same(root / "train", steps, source.train_images, source.train_labels, source.class_names)
    assert_same(root / "val", steps, source.test_images, source.test_labels, source.class_names)


@pytest.mark.parametrize("width", [24, 25, 37, 48, 51, 200])
@pytest.mark.parametrize("height", [24, 31, 49, 97])
@pytest.mark.parametrize("size", [24, 17, 33])
def test_resize_and_crop_are_torchvisions(width: int, height: int, size: int, tmp_path: Path) -> None:
    image = picture(0, width, height)
    image.save(tmp_path / "image.png")
    expected = transforms.CenterCrop(size)(transforms.Resize(size)(image))
    assert np.array_equal(decode(tmp_path / "image.png", size, resize=True), np.asarray(expected).transpose(2, 0, 1))


def test_every_colour_mode_becomes_rgb(tmp_path: Path) -> None:
    ramp = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000
    Image.fromarray(ramp).save(tmp_path / "16bit.png")
    expected = np.broadcast_to(ramp >> 8, (3, 8, 8))
    assert np.array_equal(decode(tmp_path / "16bit.png", 8, resize=False), expected)
    for mode in ("1", "L", "LA", "P", "RGBA"):
        image = picture(1, 8, 8).convert(mode)
        image.save(tmp_path / "image.png")
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
        assert np.array_equal(decode(tmp_path / "image.png", 8, resize=False), expected)
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(BrokenImage, match="no agreed range"):
        decode(tmp_path / "float.tiff", 8, resize=False)


def test_eps_is_not_handed_to_ghostscript(tmp_path: Path) -> None:
    picture(1).save(tmp_path / "image.eps")
    (tmp_path / "image.eps").rename(tmp_path / "image.png")
    with pytest.raises(BrokenImage, match="no known image format"):
        decode(tmp_path / "image.png", 32, resize=False)


def test_the_valid_part_of_cinic10_is_not_needed(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "cinic")
    before = read("cinic10", root)
    shutil.rmtree(root / "valid")
    assert torch.equal(read("cinic10", root).train_images, before.train_images)


def test_words_are_optional(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny")
    (root / "words.txt").unlink()
    assert read("tiny_imagenet", root).class_names == ("n01", "n02", "n03")


def test_the_usual_places_are_searched(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"dataset={name}: not found \(looked in kept, .*dataset.root=FOLDER"):
        READERS[name](config(name), Path("kept"))
    usual = {"cinic10": "CINIC-10", "tiny_imagenet": "tiny-imagenet-200", "image_folder": "image_folder"}[name]
    for place in ("kept", "data"):
        WRITERS[name](tmp_path / place / usual)
        assert len(READERS[name](config(name), Path("kept")).class_names) > 1
        shutil.rmtree(tmp_path / place)


def test_a_wrong_folder_says_what_is_in_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no such folder"):
        read(name, tmp_path / "nowhere")
    (tmp_path / "other" / "pictures").mkdir(parents=True)
    with pytest.raises(UserError, match=r"expected .*, but it holds pictures"):
        read(name, tmp_path / "other")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="but it is a file"):
        read(name, tmp_path / "file")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_or_foreign_class_of_cinic10_is_named(part: str, tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "cinic", per_class=1)
    (root / part / "truck").rename(root / part / "lorry")
    with pytest.raises(UserError, match=rf"{part}: truck missing and lorry unexpected; .* 10 of CINIC-10"):
        read("cinic10", root)


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "cinic", per_class=1)
    for file in (root / "test" / "dog").iterdir():
        file.unlink()
    with pytest.raises(UserError, match=r"test/dog: no image in it \(it is empty\)"):
        read("cinic10", root)
    (root / "test" / "dog" / "readme.txt").touch()
    with pytest.raises(UserError, match=r"no image in it \(readme.txt\)"):
        read("cinic10", root)


def test_train_and_val_must_have_the_same_classes(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "own")
    (root / "val" / "cat").mkdir()
    with pytest.raises(UserError, match=r"val: cat unexpected; its 3 class folders should be the 2 of .*train"):
        read("image_folder", root)
    (root / "val" / "cat").rmdir()
    shutil.rmtree(root / "val" / "bee")
    with pytest.raises(UserError, match=r"val: bee missing"):
        read("image_folder", root)
    shutil.rmtree(root / "train" / "bee")
    with pytest.raises(UserError, match=r"train: 1 class folders"):
        read("image_folder", root)


def test_tiny_imagenet_must_be_complete(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny")
    annotations = root / "val" / "val_annotations.txt"
    lines = annotations.read_text()

    annotations.write_text(lines.replace("n03", "n77", 1))
    with pytest.raises(UserError, match=r"val_annotations.txt, line 3: expected FILE.*n77"):
        read("tiny_imagenet", root)
    annotations.write_text(lines + "val_9.JPEG\tn01\t0\t0\t1\t1\n")
    with pytest.raises(UserError, match=r"val_9.JPEG named in val_annotations.txt, but not in val/images"):
        read("tiny_imagenet", root)
    annotations.write_text(lines.split("\n", 1)[1])
    with pytest.raises(UserError, match=r"val_0.JPEG in val/images, but not named"):
        read("tiny_imagenet", root)
    annotations.write_text(lines.replace("n03", "n01"))
    with pytest.raises(UserError, match="no image of n03"):
        read("tiny_imagenet", root)
    annotations.unlink()
    with pytest.raises(UserError, match=r"val_annotations.txt: cannot be read"):
        read("tiny_imagenet", root)
    shutil.rmtree(root / "train" / "n02" / "images")
    with pytest.raises(UserError, match=r"train/n02/images: there is no such folder"):
        read("tiny_imagenet", root)
    shutil.rmtree(root / "train" / "n02")
    with pytest.raises(UserError, match=r"train: n02 missing; its 2 class folders should be the 3 of wnids.txt"):
        read("tiny_imagenet", root)


def test_a_rearranged_tiny_imagenet_is_told_how_to_be_read(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path / "tiny")
    for i, wnid in enumerate(("n02", "n01", "n03")):
        (root / "val" / wnid).mkdir()
        (root / "val" / "images" / f"val_{i}.JPEG").rename(root / "val" / wnid / f"val_{i}.JPEG")
    shutil.rmtree(root / "val" / "images")
    with pytest.raises(UserError, match=r"dataset=image_folder dataset\.image_size=64"):
        read("tiny_imagenet", root)
    assert len(read("image_folder", root, image_size=64).test_labels) == 3


def write_undivided(folder: Path, counts: dict[str, int]) -> Path:
    """`<class>/*.png`, so many of each."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture(100 * label + number).save(folder / name / f"{number:03d}.png")
    return folder


@pytest.mark.parametrize("layout", ["image_folder", "image_folder_streamed"])
def test_a_folder_of_classes_is_divided_by_number(layout: str, tmp_path: Path) -> None:
    root = write_undivided(tmp_path / "photos", {"ant": 10, "bee": 20})
    before = sorted(root.rglob("*"))

    def tree(**given: object) -> ImageTree:
        return list_image_folder(config(layout, root=root, **given), tmp_path / "kept")

    found = tree()
    assert found.train == 24 and len(set(found.files)) == 30 and found.class_names == ("ant", "bee")
    assert [file.split("/")[0] for file in found.files] == [("ant", "bee")[label] for label in found.labels]
    assert sorted(found.labels[24:]) == [0] * 2 + [1] * 4, "each class in the same proportion"
    assert tree() == found and tree(split_seed=1).files[24:] != found.files[24:]
    assert tree(test_fraction=0.5).train == 15
    with pytest.raises(UserError, match=r"test_fraction=0\.95: of the 10 images in .*ant it leaves"):
        tree(test_fraction=0.95)
    assert sorted(root.rglob("*")) == before, "nothing is written there"


def test_a_test_folder_is_the_test_set(tmp_path: Path) -> None:
    root = write_image_folder(tmp_path / "own")
    with_val = read("image_folder", root)
    (root / "val").rename(root / "test")
    assert torch.equal(read("image_folder", root).test_images, with_val.test_images)


BROKEN = {
    "empty": (lambda content: b"", "it has 0 bytes"),
    "truncated": (lambda content: content[: len(content) // 2], "image cannot be decoded"),
    "not an image": (lambda content: b"<html>not found</html>", "no known image format"),
    "damaged": (lambda content: content[:60] + b"\xff" * 40 + content[100:], "image cannot be decoded"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_image_is_named_or_skipped(what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_cinic10(tmp_path / "cinic")
    whole = read("cinic10", root)
    change, message = BROKEN[what]
    victims = sorted((root / "train" / "bird").iterdir())[:1] + sorted((root / "test" / "cat").iterdir())[:1]
    for victim in victims:
        victim.write_bytes(change(victim.read_bytes()))
    with pytest.raises(UserError, match=rf"{victims[0]} .*cannot be decoded.*dataset.skip_corrupt=true") as error:
        read("cinic10", root)
    assert message in str(error.value)

    for _ in range(2):  # built, then from the cache
        capsys.readouterr()
        source = read("cinic10", root, skip_corrupt=True)
        warning = capsys.readouterr().err
        assert (
            f"2 of 40 images cannot be decoded and are left out, the first is train/bird/{victims[0].name}" in warning
        )
        kept = torch.ones(20, dtype=torch.bool)
        kept[4] = False
        assert torch.equal(source.train_images, whole.train_images[kept])
        assert torch.equal(source.train_labels, whole.train_labels[kept])
        kept[4], kept[6] = True, False
        assert torch.equal(source.test_images, whole.test_images[kept])
        assert torch.equal(source.test_labels, whole.test_labels[kept])
    with pytest.raises(UserError, match=rf"{victims[0]} .*cannot be decoded"):  # not silently from that cache
        read("cinic10", root)


def test_a_class_must_not_be_skipped_whole(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "cinic")
    for file in (root / "test" / "cat").iterdir():
        file.write_bytes(b"")
    with pytest.raises(UserError, match=r"no test image of class cat can be decoded, the first broken one is test/cat"):
        read("cinic10", root, skip_corrupt=True)


def test_a_first_image_that_is_broken_does_not_decide_the_size(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "own")
    (root / "test").rename(root / "val")
    first = sorted((root / "train" / "airplane").iterdir())[0]
    first.write_bytes(b"")
    with pytest.raises(UserError, match=rf"{first} \(it has 0 bytes\)"):
        read("image_folder", root, image_size=None)
    assert read("image_folder", root, image_size=None, skip_corrupt=True).train_images.shape == (19, 3, 32, 32)


def test_another_size_needs_image_size(tmp_path: Path) -> None:
    root = write_cinic10(tmp_path / "cinic", per_class=1)
    other = sorted((root / "train" / "ship").iterdir())[0]
    picture(1, 33, 32).save(other)
    with pytest.raises(UserError, match=rf"{other}: it is 33x32, expected 32x32; give dataset.image_size=32"):
        read("cinic10", root)
    assert read("cinic10", root, image_size=16).train_images.shape == (10, 3, 16, 16)
    own = write_image_folder(tmp_path / "own")
    with pytest.raises(UserError, match=r"a.jpg: it is 50x40, not a square; give dataset.image_size=32"):
        read("image_folder", own, image_size=None)


def test_many_images_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of one image, more than are decoded ahead: nothing is lost or swapped."""
    root = write_cinic10(tmp_path / "cinic", per_class=5)
    expected = read("cinic10", root)
    shutil.rmtree(tmp_path / "kept")
    monkeypatch.setattr(image_tree, "PIECE_BYTES", 1)
    again = read("cinic10", root)
    assert torch.equal(again.train_images, expected.train_images) and len(again.train_images) == 50
    assert again.train_labels.tolist() == [label for label in range(len(CLASS_NAMES)) for _ in range(5)]


def test_progress_is_told_for_many_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_cinic10(tmp_path / "cinic", per_class=1)
    monkeypatch.setattr(image_tree, "SHOW_PROGRESS_FROM", 10)
    read("cinic10", root)
    assert "decoding cinic (once): 20 images" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "kept")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes this for a terminal
    read("cinic10", root)
    assert "20/20" in capsys.readouterr().err
