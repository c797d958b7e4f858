"""Where a data set is: the folder the user named, or the usual places; and what to say when it is not there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from kd_experiments.data.settings import DatasetConfig
from kd_experiments.errors import UserError


def find(
    config: DatasetConfig,
    data_folder: Path,
    names: Sequence[str],
    holds: Callable[[Path], bool],
    *,
    expected: str,
    otherwise: str,
) -> Path:
    """The first place that `holds` the data, or a `UserError`: what was `expected`, what there is, what to do.

    Places are `dataset.root`, or without one `data_folder` and `data/`, and below each the folders `names`.
    """
    places = candidates(config, data_folder, names)
    for place in places:
        if holds(place):
            return place
    raise not_found(config, places, expected, otherwise)


def candidates(config: DatasetConfig, data_folder: Path, names: Sequence[str]) -> list[Path]:
    """Places to look in, best first."""
    bases = [Path(config.root).expanduser()] if config.root is not None else [data_folder, Path("data")]
    return [place for base in bases for place in (base, *(base / name for name in names))]


def not_found(config: DatasetConfig, places: Sequence[Path], expected: str, otherwise: str) -> UserError:
    """The error for data that are in none of the `places`."""
    if config.root is None:
        looked = ", ".join(map(str, places))
        return UserError(f"dataset={config.name}: not found (looked in {looked}); {otherwise}")
    if not places[0].exists():
        return UserError(f"dataset.root={config.root}: there is no such folder; {otherwise}")
    return UserError(f"dataset.root={config.root}: expected {expected}, but it {contents(places[0])}; {otherwise}")


def contents(folder: Path) -> str:
    """What stands in a folder, in words: `holds train, val and 3 more`."""
    if not folder.is_dir():
        return "is a file"
    try:
        names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        return f"cannot be listed ({error.strerror})"
    if not names:
        return "is empty"
    return f"holds {some(names)}"


def some(names: Sequence[str], shown: int = 4) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
