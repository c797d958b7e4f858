"""Files that are either the old ones or the new ones, never halves, and that are believed only as they were written.

Everything the suite writes and reads again carries a check sum (SHA-256): JSON under a key of its own, CSV in a hidden
file beside it, everything else in a last line. A file whose check sum is wrong or missing counts as damaged: that is
said once, and the file as absent, so that whoever needs it computes it again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import pickle
import re
import shutil
import stat
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kd_experiments.errors import UserError, shortened

if TYPE_CHECKING:  # numpy takes longer to import than the record of a run that is done to read
    from _typeshed import DataclassInstance
    from numpy.typing import NDArray

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_ACCESS = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EIO, errno.EISDIR,
    errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL,
}  # fmt: skip
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}

SUM_KEY = "sha256"
_LAST_LINE = b"\n# sha256 "
_SUM_BYTES = len(_LAST_LINE) + 64 + 1
_NAME_BYTES = 100  # of a file name; systems allow 255
# Where files are written without a lock, below a results folder; wherever there is one, who gets it removes parts.
_UNLOCKED = ("known", "sweeps", "data", "data/*", "multirun/*", "multirun/*/*", "tables", "figures", "report", "paper")
_told: set[Path] = set()  # damaged files this process has named


def is_writer() -> bool:
    """Is this the process that writes, of those that torchrun may have started as one run?"""
    return os.environ.get("RANK", "0") == "0" or "MASTER_ADDR" not in os.environ


@contextlib.contextmanager
def told_plainly(path: Path) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into a `UserError` naming the place."""
    try:
        yield
    except OSError as error:
        shown = shortened(path, 200)
        if error.errno in _NO_SPACE:
            raise UserError(
                f"{shown}: no space left on the device; what was written before is kept. Free some space, or give "
                f"paths.results=FOLDER on another disk, and run the same command again"
            ) from error
        if error.errno in _NO_LOCKS:
            raise UserError(
                f"{shown}: its file system has no locks ({error.strerror}); give paths.results=FOLDER on another one"
            ) from error
        if error.errno in _NO_ACCESS:
            raise UserError(
                f"{shown}: cannot be written ({error.strerror}); give paths.results=FOLDER that you may write to"
            ) from error
        raise
    except NotImplementedError as error:  # what filelock raises there
        raise UserError(
            f"{shortened(path, 200)}: its file system has no locks; give paths.results=FOLDER on another one"
        ) from error


def file_name(text: str) -> str:
    """A name for a file or folder, whatever the text: it stays in its folder and no two texts share one.

    Letters and digits of ASCII and `.+=_-` stay; where anything else was, eight digits of the text's hash follow.
    """
    name = re.sub(r"[^A-Za-z0-9.+=_-]+", "_", text).lstrip(".-")[:_NAME_BYTES]
    if name == text and name:
        return name
    return f"{name or '_'}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file atomically: a reader, or a machine that loses power, sees the old content or the new.

    Of several processes of one run only the main one writes.
    """
    if is_writer():
        with new_file(path) as file:
            file.write(content)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write piece by piece; it takes its place when it is whole, in whichever process."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    with told_plainly(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _flush(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


@contextlib.contextmanager
def new_folder(place: Path) -> Iterator[Path]:
    """A folder to fill; it takes the place of what is there when it is whole. The caller holds a lock."""
    temporary, old = (place.with_name(f".{place.name}{end}.part") for end in ("", ".old"))
    _remove(temporary, old)  # left by a process that was killed
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in (*temporary.rglob("*"), temporary):
            _flush(path)
        if place.exists():
            os.replace(place, old)
        os.replace(temporary, place)
        _flush(place.parent)
    finally:
        _remove(temporary, old)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """So that a file, or the new name in a folder, outlives a loss of power; not every system flushes folders."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def say(text: str) -> None:
    """One line for a person, beside what a command prints."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(lock: Path, doing: str, note: Callable[[str], None] = say) -> Iterator[None]:
    """Hold a lock file; whoever waits for it says so, and what the process that holds it is `doing`."""
    from filelock import FileLock, Timeout  # takes a while to import

    held = FileLock(lock)
    with told_plainly(lock.parent):
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire(timeout=1)
        except Timeout:
            note(f"waiting for the process that {doing}")
            held.acquire()
    try:
        yield
    finally:
        held.release()


def remove_old_parts(results: Path) -> None:
    """Remove what processes that were killed while writing have left an hour ago where no lock is taken."""
    if is_writer():
        for folder in (results, *(found for pattern in _UNLOCKED for found in results.glob(pattern))):
            remove_parts(folder, 3600)


def remove_parts(folder: Path, older_than: float = 0.0) -> None:
    """Remove what processes that were killed while writing have left; `older_than` is in seconds.

    Without it the caller holds the lock that everybody who writes there takes.
    """
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= older_than:
                    path.unlink()


def write_text(path: Path, content: str) -> None:
    """Text for people, without a check sum."""
    write_bytes(path, content.encode("utf-8", "replace"))


def write_texts(folder: Path, contents: Mapping[str, str]) -> None:
    """Many such files by their names in a folder, at once, for each waits for the disk."""
    from concurrent.futures import ThreadPoolExecutor  # takes a while to import

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: write_text(folder / name, contents[name]), contents))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """A mapping, with its check sum under `SUM_KEY`; raises `ValueError` for numbers that are not finite."""
    write_text(path, json.dumps({**content, SUM_KEY: sum_of(content)}, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote; None where there is no such file, or a damaged one, which is named."""
    content = _content(path)
    if content is None:
        return None
    try:
        found = json.loads(content)
        if isinstance(found, dict) and found.pop(SUM_KEY, None) == sum_of_read(found):
            return found
    except (ValueError, RecursionError):
        pass
    return damaged(path)


def sum_of(content: Mapping[str, Any]) -> str:
    """Of the content as a reader will see it, in which keys are text and tuples are lists."""
    return sum_of_read(json.loads(json.dumps(dict(content), allow_nan=False)))


def sum_of_read(content: Mapping[str, Any]) -> str:
    """Of what `json.loads` gave, which holds nothing that holds itself."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), check_circular=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_sealed(path: Path, content: bytes | memoryview) -> None:
    """Bytes with a check sum in a last line."""
    sealed = bytearray(content)
    sealed += _LAST_LINE + hashlib.sha256(content).hexdigest().encode() + b"\n"
    write_bytes(path, memoryview(sealed))


def read_sealed(path: Path) -> memoryview | None:
    """What `write_sealed` wrote; None where there is no such file, or a damaged one, which is named."""
    content = _content(path)
    if content is None:
        return None
    body, last = memoryview(content)[:-_SUM_BYTES], content[-_SUM_BYTES:]
    if last == _LAST_LINE + hashlib.sha256(body).hexdigest().encode() + b"\n":
        return body
    return damaged(path)


def write_table(path: Path, content: str) -> None:
    """A CSV file that other programs read, too: its check sum stands in a hidden file beside it."""
    write_text(path, content)
    write_text(_beside(path), f"{hashlib.sha256(content.encode()).hexdigest()}\n")


def read_table(path: Path) -> str | None:
    """What `write_table` wrote; None where there is no such file, or a damaged one, which is named."""
    content = _content(path)
    if content is None:
        return None
    if _content(_beside(path)) == f"{hashlib.sha256(content).hexdigest()}\n".encode():
        return content.decode()
    return damaged(path)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.sha256")


def is_sound(path: Path) -> bool:
    """Is there a file as `write_sealed` wrote it?"""
    return read_sealed(path) is not None


def _content(path: Path) -> bytes | None:
    """All bytes of an ordinary file: a pipe or a device would never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return damaged(path)
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, ValueError, MemoryError):
        return damaged(path)


def damaged(path: Path, so: str = "not used") -> Any:
    """Say, once, that a file is not as it was written; None, which is what its reader answers then."""
    if path not in _told:
        _told.add(path)
        say(f"warning: {shortened(path, 200)}: damaged, or not written by kd_experiments; {so}")
    return None


def write_record(path: Path, record: DataclassInstance) -> None:
    """A dataclass as JSON."""
    write_json(path, asdict(record))


def save(path: Path, content: Any) -> None:
    """`torch.save`, atomically and with a check sum. Serialised in memory first, so that a full disk is an ordinary
    error.
    """
    write_sealed(path, serialised(content))


def serialised(content: Any) -> memoryview:
    """What `torch.save` would write."""
    import torch

    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def load_own(path: Path) -> Any | None:
    """What `save` wrote, or None where there is no such file, or a damaged one; never executes pickled code."""
    content = read_sealed(path)
    if content is None:
        return None
    import torch

    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
        return damaged(path)


def save_arrays(path: Path, **arrays: NDArray[Any]) -> None:
    """NumPy arrays by name, atomically and with a check sum."""
    import numpy as np

    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # arrays by name
    write_sealed(path, buffer.getbuffer())


def load_arrays(path: Path, *names: str) -> dict[str, Any] | None:
    """The arrays of these names, or None where there is no such file, or a damaged one."""
    content = read_sealed(path)
    if content is None:
        return None
    import numpy as np

    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as kept:
            return {name: kept[name] for name in names}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return damaged(path)
