"""The house: rooms import downwards only, and nothing heavy before it is needed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from kd_experiments.places import PACKAGE

# From the ground up; rooms on one floor do not know each other.
FLOORS = (
    {"errors", "escaping", "randomness", "private", "__init__"},
    {"own_code", "schema", "stopping"},
    {"places"},
    {"files", "digests"},
    {"networks"},
    {"cli"},
    {"data"},
    {"supervision"},
    {"distillers"},
    {"training"},
    {"tracking"},
    {"teachers"},
    {"config", "known"},
    {"identity"},
    {"naming", "students", "per_sample"},
    {"facts"},
    {"single_run"},
    {"sweeping"},
    {"reporting"},
    {"experiment"},
    {"__main__"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


def room(path: Path) -> str:
    """The package or module a file belongs to; a command (`python -m`) stands on top of the house."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "__main__" if parts[-1] == "__main__" else parts[0]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            below = rest.split(".")[0]
            if first == PACKAGE.name:
                yield below if below in FLOOR else "__init__"


def arrows() -> dict[tuple[str, str], list[str]]:
    """(from room, to room) -> the files that import."""
    found: dict[tuple[str, str], list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == PACKAGE / "__init__.py":
            continue  # it imports nothing, and names for a type checker what a notebook asks for
        for target in imported(path):
            if target != room(path):
                found.setdefault((room(path), target), []).append(str(path.relative_to(PACKAGE)))
    return found


def test_every_room_has_a_floor() -> None:
    assert {room(path) for path in PACKAGE.rglob("*.py")} <= set(FLOOR)


def test_arrows_point_down() -> None:
    upwards = {arrow: files for arrow, files in arrows().items() if FLOOR[arrow[0]] <= FLOOR[arrow[1]]}
    assert upwards == {}


def test_no_two_rooms_import_each_other() -> None:
    found = arrows()
    assert [arrow for arrow in found if arrow[::-1] in found] == []
