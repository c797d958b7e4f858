"""Which sweeps may have runs among those found: by their files alone, as composing all their runs takes a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import yaml

from kd_experiments.places import files_below, files_of, home, sweep_folders

_NAMED = ("dataset", "label_noise", "recipe", "method")  # groups whose choices have a `name`, in files and records


def begun(names: Iterable[str], configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Sweeps that no run with one of these configurations contradicts; every sweep that has a run is among them."""
    found = [dict(facts) for facts in {tuple(_facts(config)) for config in configs}]
    demands = {name: _demands_if_sound(name) for name in names}
    return [
        name
        for name, asked in demands.items()
        if any(all(facts[key] in values for key, values in asked.items()) for facts in found)
    ]


def _facts(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a run has of what a sweep may demand."""
    yield from ((f"{group}.name", config.get(group, {}).get("name")) for group in _NAMED)
    yield "student.network", config.get("student", {}).get("network")
    yield "seed", config.get("seed")


def _demands_if_sound(name: str) -> Mapping[str, set[Any]]:
    """None of a file that cannot be read: whoever reads it wholly tells what is wrong."""
    try:
        return _demands(name)
    except (yaml.YAMLError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _demands(name: str) -> Mapping[str, set[Any]]:
    """What every run of a sweep must have, as far as its file says so in plain values: key -> values."""
    content = yaml.safe_load(files_below(sweep_folders())[name].read_text())
    swept = {str(key): _values(value) for key, value in content["hydra"]["sweeper"]["params"].items()}
    chosen = {group: {choice} for group, choice in _chosen(content)}
    chosen |= {key: {str(value) for value in values} for key, values in swept.items() if values}
    for group, choices in _chosen_by_experiments(chosen.get("experiment", set())).items():
        chosen.setdefault(group, choices)
    demands = {f"{group}.name": {_name(group, choice) for choice in chosen.get(group, ())} for group in _NAMED}
    demands |= {"student.network": set(chosen.get("student", ())), "seed": swept.get("seed", set())}
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


def _chosen_by_experiments(choices: Iterable[str]) -> dict[str, set[str]]:
    """The choices of groups that every one of these experiments makes."""
    folder = home() / "conf" / "experiment"
    made = [dict(_chosen(yaml.safe_load((folder / f"{choice}.yaml").read_text()))) for choice in choices]
    common = set.intersection(*map(set, made)) if made else set()
    return {group: {one[group] for one in made} for group in common}
