"""Published teachers: fetched once, continued where an earlier call was cut off, verified, unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import ssl
import tarfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from kd_experiments import files
from kd_experiments.errors import UserError, no_such_choice
from kd_experiments.networks.registry import names as network_names

PIECE = 1 << 20  # bytes read, and shown as progress, at a time
_BROKEN = (
    urllib.error.URLError, TimeoutError, ConnectionError, ValueError, http.client.HTTPException, ssl.SSLError,
)  # fmt: skip
SUFFIX = "_vanilla"  # of a network's folder in the archive: trained without a teacher

USAGE = """\
usage: python -m kd_experiments.teachers download cifar100 [sha256=HEX] [url=ADDRESS] [paths.results=DIR]

Fetches the teachers that the public CIFAR-100 benchmark publishes (megvii-research/mdistiller) and unpacks them below
paths.results/published_teachers. A download that was cut off goes on where it stopped. Its publisher gives no check
sum: the one of the first complete download is kept beside it and printed, and sha256=HEX demands another."""


# Where archives of checkpoints are published, one folder a network.
RELEASES = {
    "cifar100": "https://github.com/megvii-research/mdistiller/releases/download/checkpoints/cifar_teachers.tar",
}


def download(name: str, results: Path, url: str = "", sha256: str = "") -> Iterator[str]:
    """Fetch, verify and unpack; yields the lines to show. Raises `UserError` for what cannot be had or is not it."""
    if name not in RELEASES:
        raise no_such_choice("download", name, RELEASES)
    url = url or RELEASES[name]
    folder = results / "published_teachers" / name
    archive = folder / url.rsplit("/", 1)[-1]
    with files.told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            yield from _fetch(url, archive)
        found = _verify(archive, sha256)
        yield f"sha256:  {found}  {archive}"
        for path in _unpack(archive, folder):
            network = path.parent.name.removesuffix(SUFFIX)
            known = network if network in network_names() else "NETWORK"
            yield f"use it:  teacher={known} teacher.checkpoint={path}"


def _fetch(url: str, archive: Path) -> Iterator[str]:
    """Complete `archive` from what is already there of it."""
    part = archive.with_name(f"{archive.name}.part")
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with contextlib.closing(urllib.request.urlopen(request, timeout=60)) as answer:
            resumed = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            yield f"{'going on' if resumed else 'fetching'}: {url} ({_size(have)} of {_size(total)} are here)"
            with open(part, "ab" if resumed else "wb") as file:
                shown = have
                while piece := answer.read(PIECE):
                    file.write(piece)
                    have += len(piece)
                    if total and have - shown >= total / 10:
                        shown = have
                        yield f"  {_size(have)} of {_size(total)}"
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send: what is here may be all of it, or of another file
            part.unlink()
            yield from _fetch(url, archive)
            return
        raise _unreachable(url, archive, f"{error.code} {error.reason}") from error
    except _BROKEN as error:
        raise _unreachable(url, archive, str(getattr(error, "reason", error))) from error
    if total is not None and have != total:
        raise UserError(f"{url}: cut off after {_size(have)} of {_size(total)}; type the same again to go on")
    part.replace(archive)


def _verify(archive: Path, wanted: str) -> str:
    """The archive's SHA-256, which must be the `wanted` one and that of the first download."""
    with open(archive, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    kept = archive.with_name(f"{archive.name}.sha256")
    first = kept.read_text(errors="replace").strip() if kept.is_file() else ""
    expected = wanted.lower() or (first if re.fullmatch("[0-9a-f]{64}", first) else found)
    if found != expected:
        raise UserError(
            f"{archive}: its SHA-256 is {found}, not {expected}; it is damaged or another file: remove it and type the "
            f"same again"
        )
    files.write_text(kept, f"{found}\n")
    return found


def _unpack(archive: Path, folder: Path) -> list[Path]:
    """The checkpoints of the archive, unpacked below `folder`; nothing in it may name a place outside."""
    try:
        with tarfile.open(archive) as content:
            members = [member for member in content if member.isfile() and member.name.endswith(".pth")]
            content.extractall(folder, members, filter="data")
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: cannot be unpacked ({error}); remove it and type the same again") from error
    if not members:
        raise UserError(f"{archive}: holds no checkpoint (*.pth); it is not the archive of published teachers")
    return sorted(folder / member.name for member in members)


def _unreachable(url: str, archive: Path, why: str) -> UserError:
    return UserError(
        f"{url}: cannot be fetched ({why}); type the same again to go on where it stopped, or fetch it in "
        f"another way and place it as {archive}"
    )


def _size(count: int | None) -> str:
    return "an unknown number of bytes" if count is None else f"{count / 1e6:.1f} MB"
