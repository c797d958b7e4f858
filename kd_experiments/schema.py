"""From a composed configuration to typed objects: names, types and ranges are checked here and nowhere else.

A part of the suite (a revision, a distiller, ...) is an ordinary class. The annotations of its constructor are its
schema: `eta: Annotated[float, Interval(over=0, under=1)]`. `typed` checks and converts the values that the YAML files
and the command line gave and names the offending key when one is wrong, `construct` calls the constructors, and
`meaningful` leaves out what a configuration does not use.
"""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache
from sys import intern
from typing import Annotated, Any, Generic, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from kd_experiments.errors import UserError, did_you_mean, no_such_choice, shortened

T = TypeVar("T")
_WORDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_SCALARS = frozenset({*_WORDS, type(None)})
LARGEST = 1e30  # of any number: what is computed from it is one, too, in float32


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
        bounds = {"over": self.over, "at least": self.at_least, "under": self.under, "at most": self.at_most}
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds.items() if bound is not None)


class When:
    """A key counts only under a condition; elsewhere it changes nothing, and is no part of what a run is.

    `When("teacher")`: where the configuration has that capability (`config.capabilities`).
    `When(schedule="step")`: where the key beside it has that value, or one of which a given function is true.
    """

    def __init__(self, *capabilities: str, **beside: Any) -> None:
        self.capabilities = capabilities
        self.beside = beside

    def holds(self, values: Mapping[str, Any], present: Collection[str]) -> bool:
        return all(one in present for one in self.capabilities) and all(
            value(values.get(key)) if callable(value) else values.get(key) == value
            for key, value in self.beside.items()
        )


Positive = Annotated[float, Interval(over=0)]
NonNegative = Annotated[float, Interval(at_least=0)]
Fraction = Annotated[float, Interval(at_least=0, at_most=1)]
Count = Annotated[int, Interval(at_least=1, at_most=10**9)]
Epochs = Annotated[int, Interval(at_least=0, at_most=10**9)]
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


def parameters(cls: type) -> Mapping[str, Any]:
    """Constructor parameters of a part, name -> annotation (with its range)."""
    return _parameters(cls)  # what is cached takes what is Hashable, which a type of some class is not, to mypy


@cache
def _parameters(cls: type) -> Mapping[str, Any]:
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
    return construct_part(cls, typed_part(cls, given, where))


def build_choice(registry: Registry[T], given: Mapping[str, Any], where: str) -> T:
    """Construct the registered part that `given["name"]` names."""
    return build(_choice(registry, given, where), given, where)


def typed_part(cls: type, given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The plain values of a part, converted to the types of its constructor, in the constructor's order.

    Numbers written in several ways become one (2 and 2.0 where a float is asked for, -0.0 and 0.0), so that equal
    meanings are equal values.
    """
    expected = parameters(cls)
    for key in given:
        if key not in expected and key != "name":
            full = shortened(f"{where}.{key}" if where else key)
            raise UserError(
                f"{full}: no such key{did_you_mean(full, [f'{where}.{k}' if where else k for k in expected])}"
            )
    values = {"name": given["name"]} if "name" in given and "name" not in expected else {}
    for name, kinds in _kinds(cls).items():
        if name in given and _is_typed(value := given[name], kinds):
            values[name] = value
            continue
        full = f"{where}.{name}" if where else name
        if name not in given:
            raise UserError(f"{full}: missing; give it a value ({describe(expected[name])})")
        values[name] = typed(given[name], expected[name], full)
    return values


def construct_part(cls: type[T], values: Mapping[str, Any]) -> T:
    """Call the constructor with values that `typed_part` has converted."""
    return cls(
        **{
            name: value if type(value := values[name]) in _SCALARS else construct(value, annotation)
            for name, annotation in parameters(cls).items()
        }
    )


def typed(value: Any, annotation: Any, where: str) -> Any:
    """One plain value converted to its annotation; numbers are never made from text, nor text from numbers."""
    if annotation is Any:
        return value
    if annotation is type(value) and _is_typed(value, (annotation,)):
        return value
    origin, arguments = _form(annotation)
    if origin is Annotated:
        kind, *extras = arguments
        if (registry := registry_of(annotation)) is not None:
            given = _mapping(value, where)
            return typed_part(_choice(registry, given, where), given, where)
        converted = typed(value, kind, where)
        for extra in extras:
            if isinstance(extra, Interval) and converted is not None and not extra.holds(converted):
                raise UserError(f"{where}={shortened(value)}: must be {extra}")
        return converted
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        kinds = [kind for kind in arguments if kind is not type(None)]
        return typed(value, kinds[0], where)
    if origin is Literal:
        if value not in arguments:
            raise no_such_choice(where, shortened(value), map(str, arguments))
        return value
    if origin in (tuple, list):
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise UserError(f"{where}={shortened(value)}: expected a list such as [1,2]")
        return [typed(item, arguments[0], f"{where}[{i}]") for i, item in enumerate(value)]
    if origin in (dict, Mapping):
        plain = _kinds_of(arguments[1])
        return {str(key): item if _is_typed(item, plain) else typed(item, arguments[1], f"{where}.{key}")
                for key, item in _mapping(value, where).items()}  # fmt: skip
    if annotation in (bool, str) and isinstance(value, annotation):
        return value
    if annotation in (int, float) and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{where}={value}: expected a finite number")
        if abs(value) > LARGEST:
            raise UserError(f"{where}={shortened(value)}: must be at most {LARGEST:g}")
        if annotation is float:
            return float(value) + 0.0  # -0.0 is 0.0
        if isinstance(value, int):
            return value
    if isinstance(annotation, type) and annotation not in (bool, str, int, float):
        return typed_part(annotation, _mapping(value, where), where)
    raise UserError(f"{where}={shortened(value)}: expected {describe(annotation)}")


def construct(value: Any, annotation: Any) -> Any:
    """The object that a typed plain value stands for."""
    if type(value) in _SCALARS:
        return value
    origin, arguments = _form(annotation)
    if origin is Annotated:
        if (registry := registry_of(annotation)) is not None:
            return construct_part(registry[value["name"]], value)
        return construct(value, arguments[0])
    if origin in (Union, types.UnionType):
        return construct(value, next(kind for kind in arguments if kind is not type(None)))
    if origin in (tuple, list):
        return tuple(construct(item, arguments[0]) for item in value)
    if isinstance(annotation, type) and is_dataclass(annotation):
        return construct_part(annotation, value)
    return value


def meaningful(values: Mapping[str, Any], annotations: Mapping[str, Any], present: Collection[str]) -> dict[str, Any]:
    """The values that count in a configuration with the capabilities `present`; see `When`."""
    kept = {}
    for key, value in values.items():
        annotation = annotations.get(key)
        origin, arguments = _form(annotation)
        kind, *extras = arguments if origin is Annotated else (annotation,)
        if not all(extra.holds(values, present) for extra in extras if isinstance(extra, When)):
            continue
        registry = registry_of(annotation)
        cls = registry[value["name"]] if registry is not None else kind
        if isinstance(value, Mapping) and isinstance(cls, type):
            value = meaningful(value, parameters(cls), present)
        kept[key] = value
    return kept


def _is_typed(value: Any, kinds: Collection[type] | None) -> bool:
    """Is this what `typed` would give back? So it is with most values of ten thousand records."""
    if kinds is None:
        return True
    if (kind := type(value)) is float:
        return float in kinds and (0 < value <= LARGEST or -LARGEST <= value < 0)  # -0.0 is 0.0
    return kind in kinds and (kind is not int or -LARGEST <= value <= LARGEST)


@cache
def _kinds(cls: type) -> Mapping[str, Collection[type] | None]:
    return {name: _kinds_of(annotation) for name, annotation in _parameters(cls).items()}


@cache
def _kinds_of(annotation: Any) -> Collection[type] | None:
    """The types whose values an annotation takes as they are; None where it takes anything."""
    if annotation is Any:
        return None
    origin, arguments = _form(annotation)
    if origin in (Union, types.UnionType):
        first = _kinds_of(next(kind for kind in arguments if kind is not type(None)))
        return None if first is None else {*first, *({type(None)} & {*arguments})}
    return {annotation} if annotation in _WORDS else set()


@cache
def _form(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    return get_origin(annotation), get_args(annotation)


@cache
def registry_of(annotation: Any) -> Registry[Any] | None:
    """Whose choices an annotation takes, if it has any."""
    origin, arguments = _form(annotation)
    return next((extra for extra in arguments if isinstance(extra, Registry)), None) if origin is Annotated else None


def flattened(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if type(value) not in _SCALARS and isinstance(value, Mapping):
            flat.update(flattened(value, f"{prefix}{key}."))
        else:
            flat[intern(f"{prefix}{key}")] = value  # the same text in every run: found by what it is, not by letters
    return flat


def _choice(registry: Registry[Any], given: Mapping[str, Any], where: str) -> type:
    name = given.get("name")
    if not isinstance(name, str):
        raise UserError(f"{where}.name: missing; choose one with {where}=CHOICE ({', '.join(sorted(registry))})")
    return registry[name]


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
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(
            f"{where}={shortened(value)}: expected a group of keys, not a single value; choose one with {where}=CHOICE"
        )
    return value
