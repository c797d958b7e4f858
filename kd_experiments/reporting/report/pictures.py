"""The figures of `results/figures` as images that stand inside the page.

Drawings are text, which packs to a tenth; the browser opens them. Pixels do not pack and stand in the page as they
are.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

_TYPES = (".svg", ".png")
MOST = 15_000_000  # bytes of all images together
_LARGE = 1_000_000  # bytes beyond which an SVG gives way to its PNG


@dataclass(frozen=True)
class Picture:
    """One figure: a drawing, or the data URI of an image; neither where the page has no room left for it."""

    name: str
    drawing: str  # SVG
    address: str
    file: str


def pictures(folder: Path, room: int = MOST) -> list[Picture]:
    """Every figure below `folder`, sorted by name: its SVG, or its PNG where that is alone or the SVG is large.

    `room` is how many bytes all images may have together; what does not fit is named without its image.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    taken = []
    for name, paths in found.items():
        path = next((path for path in reversed(paths) if path.stat().st_size <= _LARGE), paths[0])  # .svg after .png
        content = path.read_bytes()
        fits = len(content) <= room
        room -= len(content) if fits else 0
        drawing = content.decode() if fits and path.suffix == ".svg" else ""
        address = f"data:image/png;base64,{base64.b64encode(content).decode()}" if fits and not drawing else ""
        taken.append(Picture(name, drawing, address, path.relative_to(folder).as_posix()))
    return taken
