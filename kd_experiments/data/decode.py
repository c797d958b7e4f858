"""One image file -> (3, S, S) uint8, with the pixels torchvision's ImageFolder and transforms would give."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import stat
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from kd_experiments.errors import UserError

_IN_SHARD = re.compile(r"(.+\.tar):([0-9]{1,18}):([0-9]{1,18})(?::([0-9a-f]{8}))?")
# JPEG's markers of tables, applications' data and comments: the frame, which says how high the image is, follows them.
_BEFORE_FRAME = frozenset(bytes([0xFF, marker]) for marker in (0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
MAX_BYTES = 1 << 28  # of an image file
MAX_PIXELS = 1 << 26  # of an image: 67 million; decoded it takes 200 MB
_LARGE_PIXELS = 1 << 22
_one_large = threading.Lock()  # many threads decode, but only one of them a large image


class BrokenImage(Exception):
    """The file is there, but it is no image that can be shown; says why."""


class OtherSize(Exception):
    """A sound image of another size than all should have; says which, as (width, height)."""


def decode(path: Path, size: int, resize: bool) -> NDArray[np.uint8]:
    """Read `path` as RGB (3, size, size) uint8; grey, palette and CMYK are converted, alpha is dropped.

    With `resize` the shorter side becomes `size` (bilinear with antialiasing) and the centre is cropped. Raises
    `BrokenImage`, `OtherSize` without `resize`, and `UserError` for a file that cannot be opened at all.
    """
    image = open_rgb(path)
    if image.size != (size, size):
        if not resize:
            raise OtherSize(f"{image.width}x{image.height}")
        image = _fit(image, size, size)
    return pixels(image)


def centre(path: Path, size: int) -> NDArray[np.uint8]:
    """(3, size, size) uint8: the shorter side becomes 8/7 of `size`, as 256 is of 224, and the centre is cropped.

    Raises `BrokenImage`, and `UserError` for a file that cannot be opened at all.
    """
    return pixels(_fit(open_rgb(path), size * 8 // 7, size))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """An RGB image as (3, H, W) uint8, in memory a pixel after the other."""
    return np.array(image).transpose(2, 0, 1)


def open_rgb(path: Path) -> Image.Image:
    """The decoded image; grey, palette and CMYK are converted, alpha is dropped. Raises as `centre` does."""
    with opened(path) as image:
        return to_rgb(image)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """An image of which only the head is read: it is decoded inside. Raises as `centre` does."""
    content = _content(path)
    try:
        with Image.open(io.BytesIO(content), formats=formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(f"{image.width}x{image.height} are over {MAX_PIXELS >> 20} million pixels")
            large = image.width * image.height > _LARGE_PIXELS
            with _one_large if large else contextlib.nullcontext():
                yield image
    except UnidentifiedImageError as error:
        raise BrokenImage("no known image format") from error
    except Exception as error:  # Pillow's decoders raise nearly every exception there is on broken files
        raise BrokenImage(str(error) or type(error).__name__) from error


def _content(path: Path) -> bytes:
    """The bytes of an ordinary file, or of a part of one, `SHARD.tar:OFFSET:LENGTH:CRC`: a pipe or a device never
    ends.
    """
    part = _IN_SHARD.fullmatch(str(path))
    try:
        status = os.stat(path if part is None else part[1])
        size = status.st_size if part is None else int(part[3])
        if not stat.S_ISREG(status.st_mode):
            raise BrokenImage("no ordinary file")
        if size == 0:
            raise BrokenImage("it has 0 bytes")
        if size > MAX_BYTES:
            raise BrokenImage(f"over {MAX_BYTES >> 20} MiB")
        return path.read_bytes() if part is None else _part(part[1], int(part[2]), size, part[4])
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error


def _part(shard: str, offset: int, length: int, crc: str | None) -> bytes:
    """Bytes of a shard, which the system reads from front to back when its first image is asked for."""
    _read_ahead(shard)
    with open(shard, "rb") as file:
        file.seek(offset)
        content = file.read(length)
    if crc is not None and zlib.crc32(content) != int(crc, 16):
        raise UserError(f"{shard}: damaged at byte {offset}; remove it and prepare the shards again")
    return content


@functools.lru_cache(maxsize=256)
def _read_ahead(shard: str) -> None:
    """Have the system read a whole shard, from front to back, when its first image is asked for."""
    if hasattr(os, "posix_fadvise"):
        with open(shard, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def decode_smaller(image: Image.Image, divisor: int) -> int:
    """Have an opened JPEG decoded at 1/1, 1/2, 1/4 or 1/8 of its sides, which libjpeg-turbo does in place of decoding
    it wholly; returns the divisor, 1 for other formats.
    """
    full = image.size
    image.draft(None, (full[0] // divisor, full[1] // divisor))
    return 1 if image.size == full else divisor


def rgb_rows(image: Image.Image, rows: int) -> NDArray[np.uint8]:
    """The first `rows` of an opened image at least, RGB (H, W, 3): a JPEG by libjpeg-turbo itself, the same pixels in
    two thirds of Pillow's time.

    What it complains of is left to Pillow, which shows some of it and has a sentence for the rest.
    """
    file = getattr(image, "fp", None)
    if image.format == "JPEG" and image.mode in ("RGB", "L") and isinstance(file, io.BytesIO):
        whole = file.getvalue()
        upper = _upper(whole, rows + 16)  # colours of a row are mixed with those of a row or two below it
        space = np.empty((image.height, image.width, 3), np.uint8)  # Pillow's size was allowed: no larger is decoded
        with contextlib.suppress(ValueError):
            return simplejpeg.decode_jpeg(upper, buffer=space, strict=upper is whole)
    return np.asarray(to_rgb(image))


def _upper(jpeg: bytes, rows: int) -> bytes:
    """The same file said to be `rows` high: libjpeg decodes no more, and calls the rest extraneous. Nothing is changed
    where every row comes in several passes (progressive), nor in a file without its end, which should be found broken.
    """
    place = 2
    while jpeg[place : place + 2] in _BEFORE_FRAME:
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4])
    if jpeg[place : place + 2] not in (b"\xff\xc0", b"\xff\xc1") or not jpeg.endswith(b"\xff\xd9"):
        return jpeg
    height = min(rows, int.from_bytes(jpeg[place + 5 : place + 7]))
    return jpeg[: place + 5] + height.to_bytes(2) + jpeg[place + 7 :]


def to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):  # 16 bits a pixel: `convert` would cut off everything above 255
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no agreed range; save it with 8 bits a channel")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # the same colours as at once to RGB, without Pillow's warning
    return image.convert("RGB")


def _fit(image: Image.Image, short: int, size: int) -> Image.Image:
    """torchvision's Resize(short) and CenterCrop(size), roundings included."""
    width, height = image.size
    if width <= height:
        width, height = short, int(short * height / width)
    else:
        width, height = int(short * width / height), short
    if width * height > MAX_PIXELS:
        raise BrokenImage(f"{image.width}x{image.height}, so narrow that resized it is {width}x{height}")
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


@functools.cache
def formats() -> tuple[str, ...]:
    """What Pillow may open, the usual first. Not EPS: Pillow hands it to Ghostscript, which runs it."""
    Image.init()
    usual = ["JPEG", "PNG"]
    return (*usual, *(name for name in Image.OPEN if name not in (*usual, "EPS")))


@functools.cache
def endings() -> frozenset[str]:
    """The file name endings of these formats, such as `.jpg`, in lower case."""
    known = formats()
    return frozenset(ending for ending, name in Image.registered_extensions().items() if name in known)
