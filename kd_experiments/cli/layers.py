"""What the configuration files give for a choice, without composing the whole: quick enough to try every method file.

Understands what files below `conf/` use: a `defaults` list that inherits from a file of the same group or overrides the
choice of another group, plain values, and interpolations. A test compares it with Hydra for every method and plug-in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from kd_experiments.cli import resolvers
from kd_experiments.places import config_folders

Layer = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def choices(group: str) -> list[str]:
    """The choices of a config group that are files, sorted."""
    return sorted({path.stem for folder in config_folders() for path in (folder / group).glob("*.yaml")})


def distiller_of(method: str) -> str | None:
    """The distiller that a method file chooses."""
    body: Layer = read("method", method)[1].get("method", {})
    return body.get("distiller")


def method_values(name: str, plug_in: str, values: Mapping[str, Any]) -> Layer:
    """`method` and its parts as `method=name plug_in=plug_in` gives them among the other values of a configuration."""
    overrides, body = read("method", name)
    more_overrides, more_body = read("plug_in", plug_in)
    parts = base()[0] | overrides | more_overrides
    groups = {"method": base()[1]["method"], **{group: read(group, choice)[1] for group, choice in parts.items()}}
    merged = merge(merge(groups, body), more_body)
    return {group: resolved(merged[group], {**values, **merged}, (group,)) for group in groups}


def choice_values(group: str, choice: str, values: Mapping[str, Any], below: str | None = None) -> Layer:
    """The values of one choice among the other values of a configuration, or in its section `below`."""
    content = read(group, choice)[1]
    if below is None:
        return resolved(content, {**values, group: content}, (group,))
    return resolved(content, {**values, below: {**values[below], group: content}}, (below, group))


def resolved(node: Any, config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """Plain values without interpolations; `place` is where `node` stands in `config`.

    OmegaConf takes milliseconds to read one interpolation, and naming a run needs hundreds: what our files use is read
    here, and anything else is left to OmegaConf.
    """
    if isinstance(node, Mapping):
        return {key: resolved(value, config, (*place, key)) for key, value in node.items()}
    if not isinstance(node, str) or "${" not in node:
        return node
    table = re.fullmatch(r"\$\{(by_\w+):(.*)\}", node, re.DOTALL)
    if table is not None and table[1] in resolvers.TABLES:
        return resolvers.TABLES[table[1]](_rows(table[2]), config, place)
    path = re.fullmatch(r"\$\{(\.?)([\w.]+)\}", node)
    if path is None:
        whole = OmegaConf.create({**config, "_node": node})
        resolvers.register_resolvers()
        return OmegaConf.select(whole, "_node")
    keys = (*place[:-1], path[2]) if path[1] else tuple(path[2].split("."))
    value: Any = config
    for key in keys:
        value = value[key]
    return resolved(value, config, keys)


@cache
def _rows(text: str) -> tuple[Any, ...]:
    """What stands in a table of values: a label asks the same ones of every method file."""
    return tuple(yaml.load(f"[{text}]", _LOADER))


def merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> Layer:
    """Nested values, those of `above` where both have one."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def every_key(groups: Iterable[str]) -> set[str]:
    """Dotted keys of all choices of some groups."""
    keys = {f"method.{key}" for key in base()[1]["method"]}
    for group in groups:
        for choice in choices(group):
            body = read(group, choice)[1]
            keys |= {f"{group}.{key}" for key in (body.get(group, {}) if group == "method" else body)}
    return keys


@cache
def base() -> tuple[dict[str, str], Layer]:
    """The choices that config.yaml makes for the parts of a method, and its own values."""
    parts = ("revision", "selection", "weighting", "temperature", "label_loss")
    content = _load(config_folders()[-1] / "config.yaml")
    chosen = {
        key: value for entry in content.pop("defaults") if isinstance(entry, dict) for key, value in entry.items()
    }
    return {part: chosen[part] for part in parts}, content


@cache
def read(group: str, choice: str) -> tuple[dict[str, str], Layer]:
    """The choices that a file makes for other groups, and its values, those it inherits included."""
    content = dict(_load(_path(group, choice)))
    overrides: dict[str, str] = {}
    inherited: Layer = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            above, body = read(group, entry)
            overrides |= above
            inherited = merge(inherited, body)
        elif isinstance(entry, dict):
            overrides |= {key.removeprefix("override /"): value for key, value in entry.items()}
    return overrides, merge(inherited, content)


def _path(group: str, choice: str) -> Path:
    return next(path for folder in config_folders() if (path := folder / group / f"{choice}.yaml").exists())


@cache
def _load(path: Path) -> Layer:
    return yaml.load(path.read_text(), _LOADER) or {}
