"""`dataset.*`: the keys of every data set, and those only some of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from kd_experiments.schema import Count, Interval, Positive, Registry, Seed

Pixels = Annotated[int, Interval(at_least=1, at_most=2048)]


@dataclass(frozen=True)
class DatasetConfig:
    """`dataset.*`: which data, where, and how they are split and augmented."""

    name: str
    root: str | None  # a folder that holds the data; null: look in the usual places
    download: bool
    train_size: Count | None  # null: every training image that is not held out
    # null: a tenth, but at least as many images as there are classes
    val_fraction: Annotated[float, Interval(over=0, under=1)] | None
    split_seed: Seed
    crop_padding: Annotated[int, Interval(at_least=0, at_most=32)]
    flip: bool
    mean: tuple[float, ...] | None  # null: of the training split
    std: tuple[Positive, ...] | None


@dataclass(frozen=True)
class FashionConfig(DatasetConfig):
    """Fashion-MNIST, at its 28 x 28 pixels or smaller."""

    image_size: Annotated[int, Interval(at_least=1, at_most=28)] | None  # means over areas; null: as stored


@dataclass(frozen=True)
class ImageTreeConfig(DatasetConfig):
    """A data set stored as one file an image."""

    image_size: Pixels | None  # shorter side resized to it, centre cropped to a square; null: as stored
    skip_corrupt: bool  # leave out images that cannot be decoded, and say so; false: stop at the first


@dataclass(frozen=True)
class StreamedConfig(DatasetConfig):
    """A data set too large for memory: its files are decoded again in every epoch."""

    crop_padding: ClassVar[int] = 0  # type: ignore[misc]  # a knob elsewhere; here crops have any place and size
    image_size: Pixels  # of what a network sees; for testing, the centre of the image at 8/7 of it (224: 256)
    skip_corrupt: bool  # decode every file before the first run and leave out those that cannot be
    workers: Annotated[int, Interval(at_least=0, at_most=256)]  # processes that decode ahead; 0: the run itself decodes


OWN_IMAGES = ("image_folder", "image_folder_streamed")  # the others are published
# Folders that a data set is looked for in, below the usual places.
FOLDERS = {
    "image_folder": ("image_folder",),
    "image_folder_streamed": ("image_folder",),
    "cinic10": ("CINIC-10", "cinic10", "cinic-10"),
    "tiny_imagenet": ("tiny-imagenet-200", "tiny_imagenet"),
    "imagenet": ("imagenet", "ImageNet"),
}

TestFraction = Annotated[float, Interval(over=0, under=1)]  # of a folder that is not divided into train/ and val/


@dataclass(frozen=True)
class ImageFolderConfig(ImageTreeConfig):
    """The user's own folder of images."""

    test_fraction: TestFraction


@dataclass(frozen=True)
class StreamedFolderConfig(StreamedConfig):
    """The user's own folder of images, decoded again in every epoch."""

    test_fraction: TestFraction


# A data set's own keys stand in its own class, so that a knob it does not have is refused by name.
DATASETS: Registry[DatasetConfig] = Registry("dataset")
for _name in ("digits", "cifar10", "cifar100"):
    DATASETS.register(_name)(DatasetConfig)
DATASETS.register("fashion_mnist")(FashionConfig)
for _name in ("cinic10", "tiny_imagenet"):
    DATASETS.register(_name)(ImageTreeConfig)
DATASETS.register("image_folder")(ImageFolderConfig)
DATASETS.register("imagenet")(StreamedConfig)
DATASETS.register("image_folder_streamed")(StreamedFolderConfig)
