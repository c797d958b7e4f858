"""Verify a data set and build its cache before the first run, or say what to place where."""

from __future__ import annotations

import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_experiments.data import fashion_mnist, shards
from kd_experiments.data.decode import MAX_PIXELS
from kd_experiments.data.image_files import ImageFiles
from kd_experiments.data.image_folder import list_image_folder
from kd_experiments.data.load import READERS, STORED
from kd_experiments.data.settings import DATASETS, DatasetConfig, FashionConfig, StreamedConfig
from kd_experiments.data.stored import StoredDataset
from kd_experiments.errors import UserError, did_you_mean, no_such_choice, shortened
from kd_experiments.places import files_of
from kd_experiments.schema import build_choice

USAGE = """\
usage: python -m kd_experiments.data prepare NAME [root=FOLDER] [download=true] [image_size=S] [skip_corrupt=true]
                                                  [paths.results=FOLDER] [size=S] [out=FOLDER]
NAME is one of {names}. The keys are those of dataset.* in a run.
With size=256, imagenet and image_folder_streamed are written once more, as shards with images of that shorter side,
into out (default: NAME-S in the results' data folder): several times faster to read and decode."""

_STREAMED = ("imagenet", "image_folder_streamed")
_SETTINGS = ("root", "download", "image_size", "test_fraction", "skip_corrupt")


def names() -> list[str]:
    """The data sets that can be prepared, those of the user's own code included."""
    return sorted(set(READERS) & set(files_of("dataset")))


def prepare(name: str, settings: Sequence[str]) -> list[str]:
    """Do it, and return the lines to show; raises `UserError` where the data are missing or wrong."""
    if name not in names():
        raise no_such_choice("data set", name, names())
    own = dict(setting.split("=", 1) for setting in settings if setting.startswith(("size=", "out=")))
    settings = [setting for setting in settings if not setting.startswith(("size=", "out="))]
    config, data_folder = _configure(name, settings)
    started = time.perf_counter()
    if own:
        return _write_shards(name, config, data_folder, own)
    if name in STORED:
        stored = STORED[name](config, data_folder)
        source = stored.source()
        size = sum(file.stat().st_size for file in stored.folder.iterdir())
        how = f"built in {time.perf_counter() - started:.1f} s" if stored.built else "was there, verified"
        places = [f"data:  {stored.origin.resolve()}", f"cache: {stored.folder.resolve()} ({size / 1e6:.0f} MB, {how})"]
    else:
        source, place = _read_as_it_is(config, data_folder)
        places = [f"data:  {place}", "cache: none needed"]
    channels, height, width = source.train_images.shape[1:]
    return [
        f"{name}: {len(source.train_labels)} training and {len(source.test_labels)} test images of "
        f"{width}x{height}x{channels}, {len(source.class_names)} classes",
        *(f"  {line}" for line in places),
        f"  use:   {_command(name, settings)}",
    ]


def _write_shards(name: str, config: DatasetConfig, data_folder: Path, own: Mapping[str, str]) -> list[str]:
    """Write a streamed data set as shards."""
    if not isinstance(config, StreamedConfig):
        raise UserError(f"size and out: only {' and '.join(_STREAMED)} are kept as shards; {name} is kept in memory")
    text = own.get("size", "")
    least, most = config.image_size * 8 // 7, math.isqrt(MAX_PIXELS)
    if not text.isdecimal() or len(text) > len(str(most)) or not least <= int(text) <= most:
        raise UserError(
            f"size={shortened(text)}: give the shorter side of the images in pixels, {least} at least, {most} at most"
        )
    folder = Path(own.get("out", data_folder / f"{name}-{text}")).expanduser()
    tree = list_image_folder(config, data_folder)
    started = time.perf_counter()
    left_out = shards.write(tree, int(text), folder, config.skip_corrupt, lambda line: print(line, file=sys.stderr))
    size = sum(file.stat().st_size for file in folder.rglob("*.tar"))
    return [
        f"{name}: {len(tree.files) - left_out} images of {len(tree.class_names)} classes, {left_out} left out",
        f"  data:   {tree.folder.resolve()}",
        f"  shards: {folder.resolve()} ({size / 1e6:.0f} MB, {time.perf_counter() - started:.1f} s)",
        f"  use:    {shlex.join(['python', '-m', 'kd_experiments', f'dataset={name}', f'dataset.root={folder}'])}",
    ]


def _configure(name: str, settings: Sequence[str]) -> tuple[DatasetConfig, Path]:
    """The data set's own defaults with the given settings, and the folder for downloads of a run."""
    from omegaconf import OmegaConf

    defaults = OmegaConf.to_container(OmegaConf.load(files_of("dataset")[name]))
    assert isinstance(defaults, dict)
    given: dict[str, Any] = {str(key): value for key, value in defaults.items()}
    known = [key for key in _SETTINGS if key in given]
    results = Path("results")
    for setting in settings:
        key, equals, text = setting.partition("=")
        key = key.removeprefix("dataset.")
        if not equals:
            raise UserError(f"{setting}: expected KEY=VALUE (keys: {', '.join([*known, 'paths.results'])})")
        if key == "paths.results":
            results = Path(text).expanduser()
        elif key == "root":
            given["root"] = text  # as it stands: a folder may be called 2024
        elif key in known:
            given[key] = OmegaConf.from_dotlist([f"value={text}"])["value"]
        else:
            choices = [*known, "paths.results"]
            raise UserError(f"{key}: no such key for {name}{did_you_mean(key, choices)} (keys: {', '.join(choices)})")
    return build_choice(DATASETS, given, "dataset"), results / "data"


def _read_as_it_is(config: DatasetConfig, data_folder: Path) -> tuple[StoredDataset, str]:
    source = READERS[config.name](config, data_folder)
    if isinstance(source.train_images, ImageFiles):
        return source, f"{source.train_images.folder.resolve()} (decoded in every epoch)"
    if isinstance(config, FashionConfig):
        return source, str(fashion_mnist.find(config, data_folder).resolve())
    return source, "inside scikit-learn" if config.name == "digits" else "where your own code finds it"


def _command(name: str, settings: Sequence[str]) -> str:
    """What to type to run on this data set with the same settings."""
    words = [f"dataset={name}"]
    for setting in settings:
        plain = setting.removeprefix("dataset.")
        if not plain.startswith("download="):
            words.append(shlex.quote(plain if plain.startswith("paths.") else f"dataset.{plain}"))
    return " ".join(["python -m kd_experiments", *words])
