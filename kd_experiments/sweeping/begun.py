"""Which sweeps may have runs among those found: by their files alone, as composing all their runs takes a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import yaml

from kd_experiments.places import files_below, files_of, home, sweep_folders

Values = Mapping[str, set[Any]]  # dotted key of a configuration -> values

_SETTING = ("dataset", "label_noise", "student", "recipe")
_NAMED = ("dataset", "label_noise", "recipe", "method")  # groups whose choices have a `name`, in files and records


def begun(names: Iterable[str], configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sweeps that no run with one of these configurations contradicts; every sweep that has a run is among them."""
    found = _facts(configs)
    return [name for name in names if _met_by_any(_demands_if_sound(name), found)]


def _demands_if_sound(name: str) -> Values:
    """None of a file that cannot be read: whoever reads it wholly tells what is wrong."""
    try:
        return _demands(name)
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _met_by_any(demands: Values, found: Iterable[Values]) -> bool:
    return any(all(facts.get(key, set()) & values for key, values in demands.items()) for facts in found)


def _facts(configs: Iterable[Mapping[str, Any]]) -> list[Values]:
    """What the runs of each setting have."""
    settings: dict[tuple[tuple[str, Any], ...], dict[str, set[Any]]] = {}
    for config in configs:
        keys = tuple(
            (key, value)
            for group in _SETTING
            for key, value in _flat(config.get(group, {}), group)
            if not isinstance(value, list)
        )
        facts = settings.setdefault(keys, {key: {value} for key, value in keys})
        facts.setdefault("method.name", set()).add(config["method"]["name"])
        facts.setdefault("seed", set()).add(config["seed"])
    return list(settings.values())


def _demands(name: str) -> Values:
    """What every run of a sweep must have, as far as its file says so in plain values."""
    content = yaml.safe_load(files_below(sweep_folders())[name].read_text())
    swept = {str(key): _values(value) for key, value in content["hydra"]["sweeper"]["params"].items()}
    chosen = {group: {choice} for group, choice in _chosen(content)}
    chosen |= {key: {str(value) for value in values} for key, values in swept.items() if values}
    for group, choices in _chosen_by_experiments(chosen.get("experiment", set())).items():
        chosen.setdefault(group, choices)
    demands: dict[str, set[Any]] = {}
    for group in _NAMED:
        if group in chosen:
            demands[f"{group}.name"] = {_name(group, choice) for choice in chosen[group]}
    if "student" in chosen:
        demands["student.network"] = set(chosen["student"])
    demands |= _valued_by_experiments(chosen.get("experiment", set()))
    demands |= {key: {value} for key, value in _valued(content)}
    for key, values in swept.items():
        if key == "seed" or (key.split(".")[0] in _SETTING and "." in key):
            demands[key] = values
    return {key: values for key, values in demands.items() if values}


def _values(given: object) -> set[Any]:
    """The values of `0,1,2`; none where the text is anything but a plain list."""
    if any(sign in str(given) for sign in "()[]{}'\""):
        return set()
    return {yaml.safe_load(part) for part in str(given).split(",")}


@cache
def _name(group: str, choice: str) -> object:
    content = yaml.safe_load(files_of(group)[choice].read_text())
    return content["method"]["name"] if group == "method" else content["name"]


def _chosen(content: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Group and choice of every line of a file's `defaults`."""
    for entry in content.get("defaults", ()):
        if isinstance(entry, Mapping):
            for key, value in entry.items():
                yield str(key).removeprefix("override ").removeprefix("/"), str(value)


def _valued(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Plain values that a file gives to keys of the setting."""
    for group in _SETTING:
        for key, value in _flat(content.get(group, {}), group):
            if not isinstance(value, list) and "${" not in str(value):
                yield key, value


def _chosen_by_experiments(choices: Iterable[str]) -> dict[str, set[Any]]:
    """The choices of groups that every one of these experiments makes."""
    return _in_all([dict(_chosen(content)) for content in _experiments(choices)])


def _valued_by_experiments(choices: Iterable[str]) -> dict[str, set[Any]]:
    """The values that every one of these experiments gives."""
    return _in_all([dict(_valued(content)) for content in _experiments(choices)])


def _experiments(choices: Iterable[str]) -> list[Mapping[str, Any]]:
    folder = home() / "conf" / "experiment"
    return [yaml.safe_load((folder / f"{choice}.yaml").read_text()) for choice in choices]


def _in_all(made: Sequence[Mapping[str, Any]]) -> dict[str, set[Any]]:
    """What each says under the keys that all have."""
    common = set.intersection(*map(set, made)) if made else set()
    return {key: {one[key] for one in made} for key in common}


def _flat(content: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys and their values."""
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}.{key}")
        else:
            yield f"{prefix}.{key}", value
