"""The rows of a photograph that a crop shows: Pillow's pixels, whatever the file is and whatever is wrong with it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from PIL import Image

from kd_experiments.data.decode import BrokenImage, open_rgb, opened, rgb_rows, to_rgb
from kd_experiments.data.random_crops import RandomCrops
from kd_experiments.data.streamed import Augmentation
from tests.data.make_datasets import picture


def saved(path: Path, image: Image.Image, kind: str = "JPEG", **how: object) -> Path:
    image.save(path, kind, **{"quality": 90, **how})
    return path


def rows_of(path: Path, rows: int) -> np.ndarray:
    with opened(path) as image:
        return rgb_rows(image, rows)


def thumbnail() -> bytes:
    """Exif's, a whole JPEG of its own in the head of the file."""
    small = io.BytesIO()
    picture(1, 16, 16).save(small, "JPEG")
    return b"Exif\x00\x00" + small.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize(
    "how",
    [
        {"subsampling": 0},
        {"subsampling": 1},
        {"subsampling": 2},
        {"progressive": True},
        {"restart_marker_blocks": 3},
        {"exif": thumbnail()},
    ],
    ids=str,
)
def test_they_are_pillows_to_the_bit(tmp_path: Path, mode: str, how: dict[str, object]) -> None:
    path = saved(tmp_path / "x.jpg", picture(3, 131, 203).convert(mode), **how)
    whole = np.asarray(open_rgb(path))
    for rows in (1, 16, 17, 100, 187, 202, 203):
        assert np.array_equal(rows_of(path, rows)[:rows], whole[:rows])


def test_rows_below_are_not_decoded(tmp_path: Path) -> None:
    image = picture(3, 131, 203)
    assert rows_of(saved(tmp_path / "x.jpg", image), 50).shape == (66, 131, 3)
    assert rows_of(saved(tmp_path / "p.jpg", image, progressive=True), 50).shape == (203, 131, 3)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "BMP"])
def test_other_formats_are_pillows(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / "x", picture(3, 131, 203), kind)
    assert np.array_equal(rows_of(path, 10), np.asarray(open_rgb(path)))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_file_without_its_end_is_broken_wherever_the_crop_is(tmp_path: Path, progressive: bool) -> None:
    path = saved(tmp_path / "x.jpg", picture(3, 131, 203), progressive=progressive)
    content = path.read_bytes()
    for kept in (300, len(content) // 2, len(content) - 2):
        path.write_bytes(content[:kept])
        with pytest.raises(BrokenImage) as pillows:
            open_rgb(path)
        for rows in (10, 203):
            with pytest.raises(BrokenImage) as ours:
                rows_of(path, rows)
            assert str(ours.value) == str(pillows.value)


def test_damage_that_pillow_shows_is_shown_without_a_word(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path / "x.jpg", picture(3, 131, 203), progressive=False)
    content = path.read_bytes()
    for place in range(700, len(content) - 2, 397):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        whole = np.asarray(open_rgb(path))
        for rows in (60, 203):
            assert np.array_equal(rows_of(path, rows)[:rows], whole[:rows])
    path.write_bytes(content[: len(content) // 2] + b"\xff\xd9" + content[len(content) // 2 :])
    assert np.array_equal(rows_of(path, 203), np.asarray(open_rgb(path)))
    assert capfd.readouterr() == ("", "")


def test_no_more_is_decoded_than_the_head_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were libjpeg to read another size than Pillow, there would be no room for a larger image."""
    path = saved(tmp_path / "x.jpg", picture(3, 131, 203))
    decode, larger = simplejpeg.decode_jpeg, saved(tmp_path / "y.jpg", picture(3, 300, 300)).read_bytes()
    refused = []

    def other(content: bytes, **given: object) -> np.ndarray:
        try:
            return decode(larger, **given)
        except ValueError as error:
            refused.append(str(error))
            raise

    monkeypatch.setattr(simplejpeg, "decode_jpeg", other)
    assert np.array_equal(rows_of(path, 203), np.asarray(open_rgb(path)))
    assert "too small" in refused[0]


@pytest.mark.parametrize(("kind", "mode"), [("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB")])
def test_a_crop_of_a_file_is_that_of_the_image(tmp_path: Path, kind: str, mode: str) -> None:
    """Rounded otherwise by torch's kernels than by Pillow's, by two levels at most."""
    path = saved(tmp_path / "x", picture(3, 150, 130).convert(mode), kind)
    augmentation = Augmentation(RandomCrops(flip=True), 0, 0)
    for numbers in augmentation.numbers(np.arange(40)):
        with opened(path) as image:
            crop = augmentation.crops.crop(numbers, *image.size)
            expected = np.asarray(crop.apply(to_rgb(image), 96)).transpose(2, 0, 1).astype(int)
        apart = np.abs(augmentation.show(path, numbers, 96).astype(int) - expected)
        assert apart.max() <= 2 and apart.mean() < 0.3
    assert torch.from_numpy(augmentation.show(path, numbers, 96)).shape == (3, 96, 96)
