"""Files that are either the old ones or the new ones, never halves."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kd_experiments.errors import UserError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EIO}


def is_writer() -> bool:
    """Is this the process that writes, of those that torchrun may have started as one run?"""
    return os.environ.get("RANK", "0") == "0" or "MASTER_ADDR" not in os.environ


@contextlib.contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into a `UserError` naming the place."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise UserError(
                f"{path}: no space left on the device; what was written before is kept. Free some space, or give "
                f"paths.results=FOLDER on another disk, and run the same command again"
            ) from error
        if error.errno in _NO_ACCESS:
            raise UserError(
                f"{path}: cannot be written ({error.strerror}); give paths.results=FOLDER that you may write to"
            ) from error
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: a reader, or a machine that loses power, sees the old content or the new.

    Of several processes of one run only the main one writes.
    """
    if not is_writer():
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with told_plainly(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_record(path: Path, record: DataclassInstance) -> None:
    """A dataclass as JSON."""
    write_json(path, asdict(record))


def read_json(path: Path) -> Any | None:
    """What a JSON file holds, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None


def save(path: Path, content: Any) -> None:
    """`torch.save`, atomically. Serialised in memory first, so that a full disk is an ordinary error."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(path, buffer.getbuffer())  # type: ignore[arg-type]  # any buffer can be written


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """`numpy.savez`, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # arrays by name
    write_bytes(path, buffer.getbuffer())  # type: ignore[arg-type]  # any buffer can be written


def load_own(path: Path) -> Any | None:
    """A file of ours, or None where there is none or it cannot be read; never executes pickled code."""
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        return None
