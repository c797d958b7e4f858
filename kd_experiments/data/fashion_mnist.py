"""Fashion-MNIST: 70000 grey images of 28 x 28 pixels (Xiao, Rasul and Vollgraf 2017), read from its IDX files."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from kd_experiments.data.settings import FashionConfig
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError

CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
MAX_BYTES = 1 << 26  # of one file, unpacked; the largest has 47 million
FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def read_fashion_mnist(config: FashionConfig, data_folder: Path) -> StoredDataset:
    """Read from `dataset.root` if given, else from `data_folder` (where a download is kept) or Debian's package.

    With `image_size` S every image is made S x S, a pixel being the mean over its area, rounded.
    """
    folder, size = find(config, data_folder), config.image_size
    train_images, train_labels, test_images, test_labels = (_read_idx(folder, name) for name in FILES)
    for images, labels, part in ((train_images, train_labels, "train"), (test_images, test_labels, "test")):
        if len(images) != len(labels):
            raise UserError(
                f"{folder}: {len(images)} {part} images but {len(labels)} labels; the files do not belong together"
            )
        if labels.max() >= len(CLASS_NAMES):
            raise UserError(f"{folder}: a {part} label is {int(labels.max())}, Fashion-MNIST has classes 0 to 9")
    train_images, test_images = (_of_size(images[:, None], size) for images in (train_images, test_images))
    return StoredDataset(train_images, train_labels.long(), test_images, test_labels.long(), CLASS_NAMES)


def _of_size(images: Tensor, size: int | None) -> Tensor:
    """Images (N, 1, H, W) uint8 as (N, 1, size, size), piece by piece."""
    if size is None or size == images.shape[-1]:
        return images
    pieces = (adaptive_avg_pool2d(piece.float(), size).round_().to(torch.uint8) for piece in images.split(4096))
    return torch.cat(list(pieces))


def find(config: FashionConfig, data_folder: Path) -> Path:
    """The folder with its files, which are downloaded where that is asked for."""
    root = Path(config.root).expanduser() if config.root else None
    kept = data_folder / "FashionMNIST" / "raw"
    if root is not None:
        if not root.exists():
            raise UserError(f"dataset.root={root}: there is no such folder")
        places = [root, root / "FashionMNIST" / "raw", root / "raw"]
    else:
        places = [kept, DEBIAN_FOLDER]
    for folder in places:
        if any((folder / f"{FILES[0]}{ending}").exists() for ending in ("", ".gz")):
            return folder
    if config.download:
        from torchvision.datasets import FashionMNIST

        target = root if root is not None else data_folder
        try:
            FashionMNIST(str(target), download=True)  # verifies the archives' checksums
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"dataset.download=true: Fashion-MNIST could not be downloaded to {target} ({error}); place its four "
                f"*-ubyte.gz files in a folder and give dataset.root=FOLDER"
            ) from error
        return target / "FashionMNIST" / "raw"
    looked = ", ".join(map(str, places))
    raise UserError(
        f"dataset=fashion_mnist: not found (looked in {looked}); add dataset.download=true, or install Debian's "
        f"package dataset-fashion-mnist, or give dataset.root=FOLDER with its four *-ubyte.gz files"
    )


def _read_idx(folder: Path, name: str) -> Tensor:
    """One IDX file, gzipped or not: big-endian magic (0, 0, 8 = uint8, number of dimensions), sizes, bytes."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.exists()), None)
    if path is None:
        raise UserError(f"{folder}: {name} (or {name}.gz) is missing; a complete folder holds {', '.join(FILES)}")
    try:
        if not path.is_file():
            raise OSError("no ordinary file")
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read(MAX_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error}); replace the file") from error
    dimensions = content[3] if len(content) >= 4 and content[:3] == b"\0\0\x08" else 0
    start = 4 + 4 * dimensions
    shape = struct.unpack(f">{dimensions}I", content[4:start]) if len(content) >= start else ()
    expected = (len(shape) == 3 and shape[1:] == (28, 28)) if "images" in name else len(shape) == 1
    if not expected or 0 in shape or len(content) - start != int(np.prod(shape)):
        raise UserError(f"{path}: not a complete Fashion-MNIST IDX file ({len(content)} bytes); replace the file")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy())
