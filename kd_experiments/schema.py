"""From a composed configuration to typed objects: names, types and ranges are checked here and nowhere else.

A part of the suite (a revision, a distiller, ...) is an ordinary class. The annotations of its constructor are its
schema: `eta: Annotated[float, Interval(over=0, under=1)]`. `build` reads them, checks the values that the YAML files
and the command line gave, names the offending key when one is wrong, and calls the constructor.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from kd_experiments.errors import UserError, did_you_mean, no_such_choice

T = TypeVar("T")


@dataclass(frozen=True)
class Interval:
    """The values a number may take; `over` and `under` exclude the end, `at_least` and `at_most` include it."""

    over: float | None = None
    at_least: float | None = None
    under: float | None = None
    at_most: float | None = None

    def holds(self, value: float) -> bool:
        return (
            (self.over is None or value > self.over)
            and (self.at_least is None or value >= self.at_least)
            and (self.under is None or value < self.under)
            and (self.at_most is None or value <= self.at_most)
        )

    def __str__(self) -> str:
        words = [
            f"{word} {bound:g}"
            for word, bound in (
                ("over", self.over),
                ("at least", self.at_least),
                ("under", self.under),
                ("at most", self.at_most),
            )
            if bound is not None
        ]
        return " and ".join(words)


Positive = Annotated[float, Interval(over=0)]
NonNegative = Annotated[float, Interval(at_least=0)]
Fraction = Annotated[float, Interval(at_least=0, at_most=1)]
Count = Annotated[int, Interval(at_least=1)]
Seed = Annotated[int, Interval(at_least=0, under=2**32)]


class Registry(Generic[T]):
    """The choices for one question, by name: `@REVISIONS.register("label_revision")` above a class adds one."""

    def __init__(self, question: str) -> None:
        self.question = question
        self._choices: dict[str, type[T]] = {}

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        def add(cls: type[T]) -> type[T]:
            if name in self._choices:
                raise ValueError(f"{self.question} {name!r} is registered twice")
            self._choices[name] = cls
            return cls

        return add

    def __getitem__(self, name: str) -> type[T]:
        if name not in self._choices:
            raise no_such_choice(self.question, name, self._choices)
        return self._choices[name]

    def __contains__(self, name: str) -> bool:
        return name in self._choices

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)


def parameters(cls: type) -> dict[str, Any]:
    """Constructor parameters of a part, name -> annotation (with its range)."""
    constructor = vars(cls).get("__init__") or inspect.getattr_static(cls, "__init__")
    names = [name for name in inspect.signature(constructor).parameters if name != "self"]
    if "args" in names and "kwargs" in names:  # nn.Module's or object's own: the part has no knobs
        return {}
    hints = get_type_hints(cls if is_dataclass(cls) else constructor, include_extras=True)
    return {name: hints[name] for name in names}


def build(cls: type[T], given: Mapping[str, Any], where: str) -> T:
    """Construct `cls` from the mapping found at key `where`, or raise a `UserError` naming the offending key.

    A key `name` is the choice that led to `cls`; it is handed over only if the constructor asks for it.
    """
    expected = parameters(cls)
    known = [*expected, "name"]
    for key in given:
        if key not in known:
            full = f"{where}.{key}" if where else str(key)
            raise UserError(f"{full}: no such key{did_you_mean(full, [f'{where}.{k}' if where else k for k in known])}")
    values = {}
    for name, annotation in expected.items():
        full = f"{where}.{name}" if where else name
        if name not in given:
            raise UserError(f"{full}: missing; give it a value ({describe(annotation)})")
        values[name] = convert(given[name], annotation, full)
    return cls(**values)


def build_choice(registry: Registry[T], given: Mapping[str, Any], where: str) -> T:
    """Construct the registered part that `given["name"]` names."""
    name = given.get("name")
    if not isinstance(name, str):
        raise UserError(f"{where}.name: missing; choose one with {where}=CHOICE ({', '.join(sorted(registry))})")
    return build(registry[name], given, where)


def convert(value: Any, annotation: Any, where: str) -> Any:
    """Check one value against one annotation; numbers are never made from text, nor text from numbers."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kind, *extras = arguments
        for extra in extras:
            if isinstance(extra, Registry):
                return build_choice(extra, _mapping(value, where), where)
        converted = convert(value, kind, where)
        for extra in extras:
            if isinstance(extra, Interval) and converted is not None and not extra.holds(converted):
                raise UserError(f"{where}={value}: must be {extra}")
        return converted
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [kind for kind in arguments if kind is not type(None)]
        return convert(value, kinds[0], where)
    if origin is Literal:
        if value not in arguments:
            raise no_such_choice(where, str(value), map(str, arguments))
        return value
    if origin in (tuple, list):
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise UserError(f"{where}={value}: expected a list such as [1,2]")
        return tuple(convert(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value))
    if annotation is bool and isinstance(value, bool):
        return value
    if annotation is str and isinstance(value, str):
        return value
    if annotation is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if annotation is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UserError(f"{where}={value}: expected a finite number")
        return float(value)
    if isinstance(annotation, type) and annotation not in (bool, str, int, float):
        return build(annotation, _mapping(value, where), where)
    raise UserError(f"{where}={value}: expected {describe(annotation)}")


def describe(annotation: Any) -> str:
    """What an annotation allows, in words."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        ranges = [str(extra) for extra in arguments[1:] if isinstance(extra, Interval)]
        return " ".join([describe(arguments[0]), *ranges])
    if origin in (Union, types.UnionType):
        kinds = [describe(kind) for kind in arguments if kind is not type(None)]
        return " or ".join(kinds + ["null"] * (type(None) in arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (tuple, list):
        return f"a list of {describe(arguments[0])}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(
            f"{where}={value}: expected a group of keys, not a single value; choose one with {where}=CHOICE"
        )
    return value
