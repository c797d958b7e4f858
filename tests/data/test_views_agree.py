"""Our views are torchvision's pad, crop and hflip at the same offsets."""

from __future__ import annotations

import pytest
import torch
from torchvision.transforms import functional as TF

from kd_experiments.data.views import Views


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 64, 64), (1, 8, 8), (3, 5, 7)])
@pytest.mark.parametrize("padding", [0, 1, 4, 8])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_a_view_is_what_torchvision_makes(
    shape: tuple[int, int, int], padding: int, flip: bool, dtype: torch.dtype
) -> None:
    views = Views(padding, flip)
    view = torch.arange(views.count)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(1, 256, (views.count, *shape), generator=generator).to(dtype)
    shown = views.apply(images, view)
    tops, lefts, flipped = views.parts(view)
    assert shown.dtype == dtype and shown.shape == images.shape
    for image, got, top, left, is_flipped in zip(images, shown, tops, lefts, flipped, strict=True):
        expected = TF.crop(TF.pad(image, [padding]), int(top), int(left), shape[1], shape[2])
        assert torch.equal(got, TF.hflip(expected) if is_flipped else expected)


@pytest.mark.parametrize(("padding", "flip"), [(4, True), (2, False), (0, True), (0, False)])
def test_every_offset_and_flip_is_a_view_once(padding: int, flip: bool) -> None:
    views = Views(padding, flip)
    parts = {tuple(map(int, part)) for part in zip(*views.parts(torch.arange(views.count)), strict=True)}
    offsets = range(2 * padding + 1)
    assert parts == {(top, left, f) for top in offsets for left in offsets for f in ([0, 1] if flip else [0])}
    assert len(parts) == views.count
    images = torch.randint(0, 256, (2, 3, 9, 9), dtype=torch.uint8)
    assert torch.equal(views.apply(images, torch.full((2,), views.padding * (views.offsets + 1))), images)
