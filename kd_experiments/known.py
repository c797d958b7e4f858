"""Answers from before, without importing torch: which run a composed configuration is.

What a configuration is takes torch to find out: its parts are torch's. The answer is kept below `paths.results`, under
a digest of all it depends on: the values, the package and its configuration files, data and checkpoint, the machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from kd_experiments import digests, files, own_code
from kd_experiments.errors import UserError
from kd_experiments.places import PACKAGE, config_folders

_MOST_FILES = 100_000  # of a folder of data


@dataclass(frozen=True)
class Known:
    """What `--signature` prints."""

    signature: str
    teacher_signature: str | None
    label: str


def look_up(given: Mapping[str, Any]) -> Known | None:
    """The answer for a composed, resolved configuration; None where it is not known yet."""
    try:
        return Known(**files.read_json(_path(given)) or {})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def remember(given: Mapping[str, Any], answer: Known) -> None:
    """Keep an answer; a folder that cannot be written costs time, not the run."""
    with contextlib.suppress(UserError, OSError, KeyError, TypeError, AttributeError, ValueError):
        files.write_json(_path(given), asdict(answer))


def _path(given: Mapping[str, Any]) -> Path:
    values = {key: value for key, value in given.items() if key not in ("paths", "tracking", "rerun", "table")}
    depends = {
        "values": values,
        "sources": _states(_sources()),
        "data": _states(_below(given["dataset"].get("root"))),
        "checkpoints": _states([Path(str(given[who].get("checkpoint"))) for who in ("teacher", "student", "peer")]),
        "device": [os.path.exists("/dev/nvidiactl"), os.environ.get("CUDA_VISIBLE_DEVICES"), metadata.version("torch")],
    }
    text = json.dumps(depends, sort_keys=True, default=str)
    return Path(given["paths"]["results"]) / "known" / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.json"


def _sources() -> Iterator[Path]:
    yield from PACKAGE.rglob("*.py")
    for place in own_code.packages():
        yield from place.rglob("*.py") if place.is_dir() else [place]
    for folder in config_folders():
        yield from folder.rglob("*.yaml")


def _below(root: object) -> Iterator[Path]:
    """All files of a folder of data; none where the usual places are looked in. `ValueError` for too many: looking at
    them takes longer than importing torch, or the folder is none of data.
    """
    if isinstance(root, str):
        found = (Path(folder) / name for folder, _, names in os.walk(Path(root).expanduser()) for name in names)
        yield from islice(found, _MOST_FILES)
        if next(found, None) is not None:
            raise ValueError("too many files")


def _states(paths: Iterator[Path] | list[Path]) -> str:
    """Digest of names, sizes and times of change."""
    states = []
    for path in paths:
        with contextlib.suppress(OSError, ValueError):
            status = path.stat()
            states.append((str(path), status.st_size, status.st_mtime_ns))
    return digests.of_values({"states": sorted(states)})
