"""RandAugment a batch at a time, against torchvision's one image at a time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import RandAugment, _apply_op

from kd_experiments.data.dataset import MemoryData, Split, channel_statistics
from kd_experiments.data.random_crops import RandomCrops
from kd_experiments.data.streamed import StreamedData
from kd_experiments.data.strong_views import OPERATIONS, augmented, rand_augment
from kd_experiments.data.views import Views

THEIRS = {
    "identity": "Identity", "shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX",
    "translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness", "colour": "Color",
    "contrast": "Contrast", "sharpness": "Sharpness", "posterize": "Posterize", "solarize": "Solarize",
    "autocontrast": "AutoContrast", "equalize": "Equalize",
}  # fmt: skip


def images(batch: int, channels: int, size: int) -> Tensor:
    """Smooth random images that use neither black nor white."""
    noise = torch.randint(20, 240, (batch, channels, size, size), generator=torch.Generator().manual_seed(0)).float()
    return F.avg_pool2d(noise, 3, 1, 1).to(torch.uint8)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (1, 28), (3, 32), (3, 64)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_is_torchvision_s(name: str, channels: int, size: int, sign: int) -> None:
    given = images(4, channels, size)
    magnitudes, signed = RandAugment(2, 10)._augmentation_space(31, (size, size))[THEIRS[name]]
    magnitude = float(magnitudes[10]) * (sign if signed else 1) if magnitudes.ndim else 0.0
    expected = torch.stack(
        [_apply_op(image, THEIRS[name], magnitude, InterpolationMode.NEAREST, None) for image in given]
    )
    which, side = torch.full((4,), OPERATIONS.index(name)), torch.full((4,), sign)
    found = augmented(given.float(), which, side).to(torch.uint8)
    difference = (expected.int() - found.int()).abs()
    if name in ("brightness", "colour", "contrast", "sharpness"):
        assert difference.max() <= 1, "float32 blends fall one level at whole numbers; ours are exact"
        assert (difference > 0).float().mean() < 0.15
    else:
        assert not difference.any()


def test_an_image_looks_the_same_in_any_batch() -> None:
    given, index = images(40, 3, 16), torch.arange(40)
    whole = rand_augment(given, index, 0, 3)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    for part in order.split(7):
        assert torch.equal(rand_augment(given[part], index[part], 0, 3), whole[part])
    assert torch.equal(rand_augment(given[:1], index[:1], 0, 3), whole[:1])


def test_every_sample_epoch_and_seed_draws_anew() -> None:
    given = images(1, 1, 8).expand(200, 1, 8, 8)
    index = torch.arange(200)
    once = rand_augment(given, index, 0, 0)
    assert len(once.flatten(1).unique(dim=0)) > 50
    for other in (rand_augment(given, index, 1, 0), rand_augment(given, index, 0, 1)):
        assert (other != once).flatten(1).any(1).float().mean() > 0.5


@pytest.mark.parametrize("streamed", [False, True])
def test_a_data_set_shows_a_strong_view_whatever_the_batch(streamed: bool) -> None:
    given, index = images(12, 3, 16), torch.arange(12)
    split = Split(given, index % 4, index % 4, index)
    mean, std = channel_statistics(given)
    facts = ("random", split, split, split, tuple("abcd"), mean, std)
    data = StreamedData(*facts, None, RandomCrops(flip=True), 0) if streamed else MemoryData(*facts, Views(2, True))
    first = data.normalise(given)
    whole = data.strong_view(index, first, 0, 1)
    assert (whole != first).flatten(1).any(1).float().mean() > 0.5
    for part in (index[3:5], index.flip(0)):
        assert torch.equal(data.strong_view(part, first[part], 0, 1), whole[part])
    if streamed:  # the pixels of the first view come back from its normalised values exactly
        assert torch.equal(whole, data.normalise(rand_augment(given, index, 0, 1)))
