"""Names, types and ranges of configured parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest

from kd_experiments.config import MethodConfig, Parts
from kd_experiments.distillers import DISTILLERS
from kd_experiments.errors import UserError
from kd_experiments.schema import Count, Interval, Positive, Registry, build, build_choice, parameters


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


def whole_numbers(
    annotation: Any, where: str, seen: frozenset[str] = frozenset()
) -> Iterator[tuple[str, list[Interval]]]:
    """Every whole number of a part, and of the parts that may be chosen in it, with its ranges."""
    kind, *extras = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    (registry,) = [extra for extra in extras if isinstance(extra, Registry)] or [None]
    if registry is not None:
        for name in registry if registry.question not in seen else ():  # a choice may hold another of the same kind
            yield from whole_numbers(registry[name], f"{where}={name}", seen | {registry.question})
    elif get_origin(kind) is not None:
        ranges = [extra for extra in extras if isinstance(extra, Interval)]
        for inner in get_args(kind):
            yield from whole_numbers(Annotated[inner, *ranges] if ranges else inner, where, seen)
    elif kind is int:
        yield where, [extra for extra in extras if isinstance(extra, Interval)]
    elif isinstance(kind, type) and kind.__module__.startswith("kd_experiments"):
        for name, inner in parameters(kind).items():
            yield from whole_numbers(inner, f"{where}.{name}", seen)


def test_every_whole_number_has_a_largest() -> None:
    """What torch's integers cannot hold is refused before it is computed with."""
    parts = [Parts, MethodConfig, *(DISTILLERS[name] for name in DISTILLERS)]
    found = dict(pair for part in parts for pair in whole_numbers(part, part.__name__))
    assert "MethodConfig.warm_up_epochs" in found and "Parts.dataset=fashion_mnist.image_size" in found
    assert "Parts.teacher.recipe.milestones" in found and len(found) > 50
    endless = [name for name, ranges in found.items() if all(r.at_most is None and r.under is None for r in ranges)]
    assert {name.rpartition(".")[2] for name in endless} == {"stage"}, "which is looked up in a network's own"


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
