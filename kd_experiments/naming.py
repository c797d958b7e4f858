"""One label for every configuration: the method file that has its values, and every key that differs from that file.

Two configurations that differ in anything that counts never share a label, and one configuration never has two: a label
is made from the identity of a run, not from what was typed. `at method.kd_weight=0.9` is `at_kd`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from kd_experiments.cli import layers
from kd_experiments.cli.resolvers import TEACHER
from kd_experiments.config import Config, Parts, Values, typed_method
from kd_experiments.identity import run_identity
from kd_experiments.schema import flattened, parameters, typed
from kd_experiments.tracking.record import LabelFacts

METHOD_GROUPS = ("method", "revision", "selection", "weighting", "temperature", "label_loss")
_VAGUE = {"name", "value", "network", "temperature"}  # last words that say nothing without the word before


def label_of(config: Config) -> LabelFacts:
    """The label of a checked configuration."""
    identity = run_identity(config)
    return LabelFacts(
        method=_method(identity, config.values),
        stage=_stage(identity, config.values),
        teacher=_teacher(identity, config.values),
        replicate=", ".join(f"{key}={value}" for key, value in seeds(identity).items()),
    )


def seeds(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Every seed: runs that differ in these alone are replicates."""
    return {key: value for key, value in flattened(identity).items() if is_seed(key)}


def is_seed(key: str) -> bool:
    return key.rsplit(".", 1)[-1] in ("seed", "split_seed")


def _method(identity: Values, values: Values) -> str:
    """The nearest method file with or without a plug-in, and what differs from it."""
    own = {key: identity[key] for key in METHOD_GROUPS if key in identity}
    found = [
        (_differences(own, other, values), _unlike(own, other), plug_in, name)
        for name, plug_in, other in _candidates(values)
    ]
    differences, _, plug_in, name = min(found, key=lambda one: (len(one[0]), one[1], one[2] != "none", one[3], one[2]))
    words = [name if plug_in == "none" else f"{name} + {plug_in}"]
    if "peer" in identity and identity["peer"] != identity["student"]:
        words.append(f"peer={_started(identity['peer'])}")
    words += _written(differences)
    code = identity.get("own_code", {})
    return " ".join(words) + _code(code.get(place) for place in (*METHOD_GROUPS, "peer"))


def _candidates(values: Values) -> Iterator[tuple[str, str, Values]]:
    """Every method file of the same distiller, with every plug-in, and its typed values in this setting."""
    schema, plug_ins = parameters(Parts), layers.choices("plug_in")
    for name in layers.choices("method"):
        if layers.distiller_of(name) == values["method"]["distiller"]:
            for plug_in in plug_ins:
                given = layers.method_values(name, plug_in, values)
                typed_parts = {group: typed(given[group], schema[group], group) for group in METHOD_GROUPS[1:]}
                yield name, plug_in, typed_parts | {"method": typed_method(given["method"])}


def _differences(own: Values, other: Values, values: Values) -> dict[str, Any]:
    """What must be typed after the other's name to get the own values: short key -> value."""
    found: dict[str, Any] = {}
    for group, mine in own.items():
        its = other[group]
        if group != "method" and mine["name"] != its["name"]:
            found[group], its = _nearest(group, mine, {**values, **other})
        found |= {short_key(f"{group}.{key}"): value for key, value in _changed(mine, its).items()}
    return found


def _unlike(own: Values, other: Values) -> int:
    """Parts that one has and the other does without: `lrds selection=random` is nearer to lrds than to lr."""
    return sum((mine.get("name") == "none") != (other[group].get("name") == "none") for group, mine in own.items())


def _changed(mine: Mapping[str, Any], its: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys whose values differ, without names and seeds."""
    other = flattened(its)
    return {
        key: value
        for key, value in flattened(mine).items()
        if key != "name" and not is_seed(key) and (key not in other or other[key] != value)
    }


def _nearest(group: str, mine: Values, values: Values, below: str | None = None) -> tuple[str, Values]:
    """The choice of a group that differs least from these values, and its typed values in this configuration."""
    annotation = parameters(Parts)[group]
    found = []
    for choice in layers.choices(group):
        given = layers.choice_values(group, choice, values, below)
        if group != "recipe" and given.get("name") != mine["name"]:
            continue
        its = typed(given, annotation, group)
        found.append((len(_changed(mine, its)), choice, its))
    _, choice, its = min(found, key=lambda one: one[:2])
    return choice, its


def _started(student: Mapping[str, Any]) -> str:
    """A network, and the content of the file it starts from where it does not start afresh."""
    start = student.get("checkpoint")
    return str(student["network"]) if start is None else f"{student['network']} from {start[:8]}"


def _stage(identity: Values, values: Values) -> str:
    """Data, label noise, student, recipe and number format in words."""
    dataset = dict(identity["dataset"])
    content = dataset.pop("content", None)
    words = [_with_differences("dataset", dataset, values) + (f" ({content[:8]})" if content else "")]
    if identity["label_noise"]["name"] != "none":
        words.append(_with_differences("label_noise", identity["label_noise"], values, always=("rate",)))
    words += [_started(identity["student"]), _with_differences("recipe", identity["recipe"], values)]
    words += [identity["precision"]] * (identity["precision"] != "float32")
    code = identity.get("own_code", {})
    return ", ".join(words) + _code(code.get(place) for place in ("dataset", "label_noise", "student"))


def _teacher(identity: Values, values: Values) -> str | None:
    """The teacher's network, what it was trained with or which file it is, and what else differs."""
    if "teacher" not in identity:
        return None
    teacher = dict(identity["teacher"])
    words = [teacher.pop("network")]
    checkpoint, recipe = teacher.pop("checkpoint"), teacher.pop("recipe", None)
    if checkpoint is not None:
        words.append(f"(checkpoint {checkpoint[:12]})")
    if recipe is not None:
        words.append(f"({_with_differences('recipe', recipe, values, below='teacher')})")
    words += _written(_changed(teacher, TEACHER))
    return " ".join(words) + _code([identity.get("own_code", {}).get("teacher")])


def _with_differences(
    group: str, mine: Values, values: Values, always: tuple[str, ...] = (), below: str | None = None
) -> str:
    """`small_20 epochs=8`: the nearest choice and what differs from it."""
    choice, its = _nearest(group, mine, values, below)
    return " ".join([choice, *_written({key: mine[key] for key in always} | _changed(mine, its))])


def _written(differences: Mapping[str, Any]) -> list[str]:
    return [f"{key}={value_text(value)}" for key, value in differences.items()]


def _code(digests: Iterable[str | None]) -> str:
    """Which version of the user's own code; nothing where it is all the package's."""
    known = sorted({digest[:6] for digest in digests if digest})
    return f" @{'+'.join(known)}" if known else ""


def value_text(value: Any) -> str:
    """A value as it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(value_text, value)) + "]"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


@cache
def short_key(key: str) -> str:
    """The shortest end of a dotted key that no other key shares and that says something."""
    parts = key.split(".")
    for start in range(len(parts) - 1, -1, -1):
        short = ".".join(parts[start:])
        if parts[start] in _VAGUE and start:
            continue
        if all(other == key or not f".{other}".endswith(f".{short}") for other in layers.every_key(METHOD_GROUPS)):
            return short
    return key
