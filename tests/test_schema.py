"""Names, types and ranges of configured parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from kd_experiments.errors import UserError
from kd_experiments.schema import Count, Interval, Positive, Registry, build, build_choice


@dataclass(frozen=True)
class Part:
    rate: Annotated[float, Interval(over=0, under=1)]
    size: Count
    kind: Literal["big", "small"]
    steps: tuple[int, ...]
    note: str | None
    flag: bool


GOOD: dict[str, Any] = {"rate": 0.5, "size": 3, "kind": "big", "steps": [1, 2], "note": None, "flag": True}


def test_builds_what_is_given() -> None:
    assert build(Part, GOOD, "part") == Part(0.5, 3, "big", (1, 2), None, True)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("rate", 0, "part.rate=0: must be over 0 and under 1"),
        ("rate", 1.0, "must be over 0 and under 1"),
        ("rate", float("nan"), "expected a finite number"),
        ("rate", "half", "part.rate=half: expected a number"),
        ("rate", True, "expected a number"),
        ("rate", None, "expected a number"),
        ("size", 0, "must be at least 1"),
        ("size", 2.5, "expected a whole number"),
        ("size", False, "expected a whole number"),
        ("kind", "bigg", "did you mean big?"),
        ("steps", 3, "expected a list"),
        ("steps", [1, "x"], "part.steps[1]=x: expected a whole number"),
        ("note", 3, "expected text"),
        ("flag", 1, "expected true or false"),
    ],
)
def test_names_the_offending_key(key: str, value: object, words: str) -> None:
    with pytest.raises(UserError) as error:
        build(Part, GOOD | {key: value}, "part")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_and_missing_keys() -> None:
    with pytest.raises(UserError, match=r"part\.rat: no such key; did you mean part\.rate\?"):
        build(Part, GOOD | {"rat": 1}, "part")
    words = r"part\.size: missing; give it a value \(a whole number at least 1 and at most 1e\+09\)"
    with pytest.raises(UserError, match=words):
        build(Part, {key: value for key, value in GOOD.items() if key != "size"}, "part")


def test_registry_suggests_the_nearest_choice() -> None:
    registry: Registry[Any] = Registry("shape")

    @registry.register("circle")
    @dataclass(frozen=True)
    class Circle:
        radius: Positive

    assert build_choice(registry, {"name": "circle", "radius": 2}, "shape").radius == 2.0
    with pytest.raises(UserError, match=r"shape=circel: no such choice; did you mean circle\?"):
        build_choice(registry, {"name": "circel", "radius": 2}, "shape")
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("circle")(Circle)
