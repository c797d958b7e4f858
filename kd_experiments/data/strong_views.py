"""RandAugment(2, 10) (Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space",
2020), a whole batch at a time.

Every image draws its own operations by the counter-based generator for (seed, epoch, sample). All fourteen operations
are one of three tensor expressions with a parameter for each image: a resampling, a blend, or a table of grey levels.
So a step has static shapes, waits for nothing, and an image looks the same in any batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kd_experiments.randomness import derive, integers

ROUNDS = 2  # operations an image goes through
STRENGTH = 10 / 30  # magnitude 10 of 0 to 30
# Operations, ranges and rounding are torchvision's (images as tensors).
OPERATIONS = ("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "colour",
              "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize")  # fmt: skip
SHEAR = 0.3 * STRENGTH
TRANSLATE = 150 / 331 * STRENGTH  # of the size
ROTATE = math.radians(30 * STRENGTH)
BLEND = round(10 * 0.9 * STRENGTH)  # tenths
POSTERIZE_STEP = 2 ** round(4 * STRENGTH)
SOLARIZE_FROM = 255 * (1 - STRENGTH)


def rand_augment(images: Tensor, index: Tensor, seed: int, epoch: int) -> Tensor:
    """Augment training images `index` (B,), (B, 1 or 3, H, W) uint8 -> the same shape; what is uncovered is black."""
    levels = images.float()  # whole numbers from 0 to 255 throughout
    for number in range(ROUNDS):
        operation = integers(derive(seed, "strong views", epoch, number, "operation"), index, len(OPERATIONS))
        sign = 1 - 2 * integers(derive(seed, "strong views", epoch, number, "sign"), index, 2)
        levels = augmented(levels, operation, sign)
    return levels.to(torch.uint8)


def augmented(levels: Tensor, operation: Tensor, sign: Tensor) -> Tensor:
    """One operation an image, as numbered in `OPERATIONS`, (B,), towards one side or the other, (B,) -1 or 1."""
    chosen = {name: operation == number for number, name in enumerate(OPERATIONS)}
    levels = _resampled(levels, chosen, sign)
    levels = _blended(levels, chosen, sign)
    return _looked_up(levels, chosen)


def _resampled(levels: Tensor, chosen: dict[str, Tensor], sign: Tensor) -> Tensor:
    """Shear, translation and rotation: each pixel is the nearest one of where it came from."""
    batch, channels, height, width = levels.shape
    side = sign.float()
    angle = side * ROTATE * chosen["rotate"]
    cosine, sine = angle.cos(), angle.sin()
    shear_x, shear_y = (side * SHEAR * chosen[name] for name in ("shear_x", "shear_y"))
    shift_x, shift_y = (
        sign * int(TRANSLATE * size) * chosen[name] for name, size in (("translate_x", width), ("translate_y", height))
    )
    # A rotation turns about the centre of the image; a shear holds its upper left corner.
    y = torch.arange(height, device=levels.device)[None, :, None].float()
    x = torch.arange(width, device=levels.device)[None, None, :].float()
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    cosine, sine, shear_x, shear_y, shift_x, shift_y = (
        part[:, None, None] for part in (cosine, sine, shear_x, shear_y, shift_x, shift_y)
    )
    from_x = cosine * (x - middle_x) - sine * (y - middle_y) + middle_x + shear_x * (y + 0.5) - shift_x
    from_y = sine * (x - middle_x) + cosine * (y - middle_y) + middle_y + shear_y * (x + 0.5) - shift_y
    from_x, from_y = from_x.round(), from_y.round()
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    place = (from_y.clamp(0, height - 1) * width + from_x.clamp(0, width - 1)).long()
    flat = place.flatten(1)[:, None].expand(batch, channels, height * width)
    return levels.flatten(2).gather(2, flat).view_as(levels) * inside[:, None]


def _blended(levels: Tensor, chosen: dict[str, Tensor], sign: Tensor) -> Tensor:
    """Brightness, colour, contrast and sharpness: towards or away from black, grey, the mean grey or the blurred."""
    grey = _grey(levels)
    other = torch.zeros_like(levels)  # brightness
    for name, image in (("colour", grey), ("contrast", _mean(grey)), ("sharpness", _blurred(levels))):
        other = torch.where(_wide(chosen[name]), image, other)
    blends = chosen["brightness"] | chosen["colour"] | chosen["contrast"] | chosen["sharpness"]
    tenths = _wide(10 + sign * BLEND * blends)  # whole numbers: what does not change must not fall a level by rounding
    return ((tenths * levels + (10 - tenths) * other) / 10).clamp(0, 255).floor()


def _looked_up(levels: Tensor, chosen: dict[str, Tensor]) -> Tensor:
    """Posterize, solarize, autocontrast and equalize: a table of 256 grey levels for each image and channel."""
    grey_levels = torch.arange(256.0, device=levels.device).expand(*levels.shape[:2], 256)
    posterized = grey_levels - grey_levels % POSTERIZE_STEP
    solarized = torch.where(grey_levels >= SOLARIZE_FROM, 255 - grey_levels, grey_levels)
    table = grey_levels
    for name, content in (
        ("posterize", posterized),
        ("solarize", solarized),
        ("autocontrast", _stretched(levels, grey_levels)),
        ("equalize", _equalized(levels, grey_levels)),
    ):
        table = torch.where(chosen[name][:, None, None], content, table)
    return table.gather(2, levels.long().flatten(2)).view_as(levels)


def _wide(part: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return part[:, None, None, None]


def _grey(levels: Tensor) -> Tensor:
    """The luminance in whole levels, (B, 1 or 3, H, W) -> (B, 1, H, W)."""
    if levels.shape[1] == 1:
        return levels
    red, green, blue = levels.split(1, 1)
    return ((2989 * red + 5870 * green + 1140 * blue) / 10000).floor()


def _mean(grey: Tensor) -> Tensor:
    """The mean level of each image, (B, 1, 1, 1); summed in float64, where it is exact whatever the order."""
    return grey.double().mean((1, 2, 3), keepdim=True).float()


def _blurred(levels: Tensor) -> Tensor:
    """A 3x3 smoothing whose centre counts five times; the border stays, as in torchvision."""
    if min(levels.shape[2:]) < 3:
        return levels
    inner = levels[:, :, 1:-1, 1:-1]
    smooth = ((F.avg_pool2d(levels, 3, 1, divisor_override=1) + 4 * inner) / 13).round()
    blurred = levels.clone()
    blurred[:, :, 1:-1, 1:-1] = smooth
    return blurred


def _stretched(levels: Tensor, grey_levels: Tensor) -> Tensor:
    """A table that maps each channel's darkest level to 0 and its brightest to 255, (B, C, 256)."""
    low, high = levels.flatten(2).aminmax(dim=2, keepdim=True)
    span = high - low
    stretched = ((grey_levels - low) * (255 / span.clamp_min(1))).clamp(0, 255).floor()
    return torch.where(span > 0, stretched, grey_levels)


def _equalized(levels: Tensor, grey_levels: Tensor) -> Tensor:
    """A table that makes a channel's levels equally frequent, (B, C, 256), rounded as in PIL."""
    batch, channels, height, width = levels.shape
    rows = torch.arange(batch * channels, device=levels.device)[:, None] * 256
    pixels = (rows + levels.flatten(2).flatten(0, 1).long()).flatten()
    counts = torch.zeros(batch * channels * 256, dtype=torch.int64, device=levels.device)
    counts = counts.scatter_add_(0, pixels, torch.ones_like(pixels)).view(batch, channels, 256)
    brightest = levels.flatten(2).amax(2, keepdim=True).long()
    step = torch.div(height * width - counts.gather(2, brightest), 255, rounding_mode="floor")
    below = counts.cumsum(2) - counts
    equalized = torch.div(below + torch.div(step, 2, rounding_mode="floor"), step.clamp_min(1), rounding_mode="floor")
    return torch.where(step > 0, equalized.clamp(0, 255).float(), grey_levels)
