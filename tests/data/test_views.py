"""Views: which one is drawn, and what it shows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kd_experiments.data.views import Views

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("padding", "flip", "count"), [(0, False, 1), (0, True, 2), (1, False, 9), (2, True, 50), (4, True, 162)]
)
def test_number_of_views(padding: int, flip: bool, count: int) -> None:
    assert Views(padding, flip).count == count


def test_each_view_is_the_padded_crop_and_flip_of_its_number() -> None:
    views = Views(2, True)
    image = torch.randint(1, 255, (1, 3, 6, 6), dtype=torch.uint8)
    padded = torch.zeros(3, 10, 10, dtype=torch.uint8)
    padded[:, 2:8, 2:8] = image[0]
    seen = set()
    for view in range(views.count):
        top, left, flipped = (int(part) for part in views.parts(torch.tensor([view])))
        crop = padded[:, top : top + 6, left : left + 6]
        expected = crop.flip(2) if flipped else crop
        assert torch.equal(views.apply(image, torch.tensor([view]))[0], expected)
        seen.add((top, left, flipped))
    assert len(seen) == views.count


@pytest.mark.parametrize("views", [Views(1, False), Views(2, True), Views(0, True), Views(0, False)])
def test_identity_view_changes_nothing(views: Views) -> None:
    images = torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(views.apply(images, torch.full((4,), views.padding * (views.offsets + 1))), images)


@given(st.integers(0, 2**31), st.integers(0, 300))
def test_drawn_views_do_not_depend_on_batches(seed: int, epoch: int) -> None:
    views = Views(4, True)
    drawn = views.draw(seed, epoch, 64, CPU)
    assert drawn.min() >= 0 and drawn.max() < 162
    assert torch.equal(drawn, views.draw(seed, epoch, 128, CPU)[:64])
    images = torch.arange(64 * 16, dtype=torch.int32).reshape(64, 1, 4, 4)
    order = torch.randperm(64)
    whole = views.apply(images, drawn)
    parts = [views.apply(images[index], drawn[index]) for index in order.split(7)]
    assert torch.equal(torch.cat(parts), whole[order])


def test_epochs_and_seeds_see_other_views() -> None:
    views = Views(4, True)
    first = views.draw(0, 0, 1000, CPU)
    assert (first == views.draw(0, 1, 1000, CPU)).float().mean() < 0.05
    assert (first == views.draw(1, 0, 1000, CPU)).float().mean() < 0.05
