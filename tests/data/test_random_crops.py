"""Crops are torchvision's: the same pixels for the same box, the same distribution of boxes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as TF

from kd_experiments.data.decode import decode_smaller, open_rgb, opened, to_rgb
from kd_experiments.data.random_crops import RATIO, SCALE, Crop, RandomCrops
from tests.data.make_datasets import picture

DRAWS = 4000


def crops(width: int, height: int, seed: int = 0, epoch: int = 0, count: int = DRAWS) -> list[Crop]:
    source = RandomCrops(flip=True)
    return [source.crop(numbers, width, height) for numbers in source.draw(seed, epoch, torch.arange(count)).tolist()]


@pytest.mark.parametrize(("width", "height"), [(300, 260), (50, 97), (32, 32), (400, 9)])
def test_a_crop_shows_torchvisions_pixels(width: int, height: int) -> None:
    image = picture(3, width, height)
    for crop in crops(width, height, count=40):
        expected = TF.resized_crop(
            image, crop.top, crop.left, crop.height, crop.width, [32, 32], InterpolationMode.BILINEAR
        )
        expected = TF.hflip(expected) if crop.flipped else expected
        assert np.array_equal(np.asarray(crop.apply(image, 32)), np.asarray(expected))


@pytest.mark.parametrize(("width", "height"), [(300, 260), (150, 600), (64, 64), (500, 20)])
def test_crops_are_distributed_as_torchvisions(width: int, height: int) -> None:
    """Means and deviations of every parameter; (500, 20) mostly takes the fallback."""
    torch.manual_seed(0)
    image = torch.empty(1, height, width)
    reference = torch.tensor([RandomResizedCrop.get_params(image, list(SCALE), list(RATIO)) for _ in range(DRAWS)])
    found = torch.tensor([(c.top, c.left, c.height, c.width) for c in crops(width, height)])
    ours, theirs = (
        torch.cat([kept, kept[:, 2:3] * kept[:, 3:4]], 1).double() for kept in (found, reference)
    )  # the area is the fifth
    error = (theirs.var(0) / DRAWS * 2).sqrt().clamp_min(1e-9)
    assert ((ours.mean(0) - theirs.mean(0)).abs() < 4 * error).all()
    assert torch.allclose(ours.std(0), theirs.std(0), rtol=0.08, atol=1e-9)


def test_crops_lie_inside_and_half_are_flipped() -> None:
    found = crops(300, 260)
    assert all(0 <= c.top <= 260 - c.height and 0 <= c.left <= 300 - c.width for c in found)
    assert abs(sum(c.flipped for c in found) - DRAWS / 2) < 4 * math.sqrt(DRAWS / 4)
    still = RandomCrops(flip=False)
    numbers = still.draw(0, 0, torch.arange(100)).tolist()
    assert not any(still.crop(row, 300, 260).flipped for row in numbers)


def test_the_fallback_is_torchvisions() -> None:
    """Images so long that no try fits: the central part with the nearest ratio."""
    for width, height in ((1000, 3), (3, 1000)):
        image = torch.empty(1, height, width)
        (expected,) = {RandomResizedCrop.get_params(image, list(SCALE), list(RATIO)) for _ in range(20)}
        assert {(c.top, c.left, c.height, c.width) for c in crops(width, height, count=20)} == {expected}


def test_a_crop_depends_on_seed_epoch_and_sample_alone() -> None:
    source = RandomCrops(flip=True)
    whole = source.draw(1, 2, torch.arange(50))
    order = torch.randperm(50)
    assert torch.equal(torch.cat([source.draw(1, 2, index) for index in order.split(7)]), whole[order])
    assert (source.draw(1, 3, torch.arange(50)) != whole).all()
    assert (source.draw(2, 2, torch.arange(50)) != whole).all()
    assert len(whole.unique()) == whole.numel()


def test_a_large_jpeg_is_decoded_at_a_fraction_and_shows_nearly_the_same(tmp_path: Path) -> None:
    """Smaller by 1, 2, 4 or 8 in decoding, never below the size shown; a smooth picture, as the pixels of noise would
    be averages either way.
    """
    rows, columns = np.mgrid[0:700, 0:900]
    values = np.stack([(rows / 3) % 256, (columns / 4) % 256, ((rows + columns) / 7) % 256], 2)
    smooth = 128 + 100 * np.sin(values / 40)
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "large.jpg", quality=95)
    whole = open_rgb(tmp_path / "large.jpg")
    divisors = set()
    for crop in crops(900, 700, count=60):
        divisor = crop.divisor(128)
        divisors.add(divisor)
        assert divisor == 1 or min(crop.width, crop.height) / divisor >= 128
        with opened(tmp_path / "large.jpg") as image:
            assert decode_smaller(image, divisor) == divisor
            ours = np.asarray(crop.apply(to_rgb(image), 128, divisor)).astype(float)
            assert image.size == (math.ceil(900 / divisor), math.ceil(700 / divisor))
        theirs = np.asarray(crop.apply(whole, 128)).astype(float)
        assert abs(ours - theirs).mean() < 1.5 and abs(ours - theirs).max() < 40
    assert divisors == {1, 2, 4}


def test_a_png_is_decoded_wholly(tmp_path: Path) -> None:
    picture(3, 300, 260).save(tmp_path / "large.png")
    with opened(tmp_path / "large.png") as image:
        assert decode_smaller(image, 4) == 1 and to_rgb(image).size == (300, 260)
