"""The command that makes a run, from its configuration: choices first, then every key that differs from them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from kd_experiments.cli.composing import composer
from kd_experiments.places import home
from kd_experiments.reporting.records import METHOD, flatten

_PARTS = ("revision", "selection", "weighting", "temperature", "label_loss")
_NETWORKS = ("teacher", "student", "peer")
_ALONE = ("dataset", "label_noise")
_IGNORED = ("paths", "tracking", "device", "threads", "rerun", "seed", "snapshots")


def command(config: Mapping[str, Any], method: str | None = None) -> str:
    """`python -m kd_experiments ...` for the method and setting of `config`; the seed is left to the caller.

    With `method`, another method in the same setting, as its file has it.
    """
    try:
        return " ".join(["python -m kd_experiments", *_overrides(config, method)])
    except Exception:  # a record of another version may hold choices that are gone
        return f"python -m kd_experiments method={method or config['method']['name']}"


def is_plain(config: Mapping[str, Any]) -> bool:
    """Whether a run's method is what its file says, with no part and no hyper-parameter changed.

    Keys that the record does not have yet, or the file no longer, say nothing.
    """
    try:
        known = _defaults({"method": config["method"]["name"]} | _networks(config))
        given = dict(flatten({group: config[group] for group in METHOD}, ""))
        return all(given.get(key, value) == value for key, value in flatten({g: known[g] for g in METHOD}, ""))
    except Exception:  # a record of another version may hold choices that are gone
        return False


def _overrides(config: Mapping[str, Any], method: str | None) -> list[str]:
    defaults = _defaults({})
    name = method or config["method"]["name"]
    taught = method is not None or (config["method"]["distiller"] != "none" and config["method"]["source"] == "teacher")
    choices = {"method": name} | {group: config[group]["name"] for group in ("dataset", "label_noise", "recipe")}
    choices |= _networks(config) | {"recipe@teacher.recipe": config["teacher"]["recipe"]["name"]}
    if not taught:  # the teacher's part of the configuration does not matter
        choices = {group: choice for group, choice in choices.items() if "teacher" not in group}
    default_choice = {"dataset": "digits", "label_noise": "none", "recipe": "quick", "recipe@teacher.recipe": "brief"}
    default_choice |= {group: defaults[group]["network"] for group in ("teacher", "student")}
    choices = {key: value for key, value in choices.items() if value != default_choice.get(key)}
    if method is None:
        if config.get("plug_in", "none") != "none":
            choices["plug_in"] = config["plug_in"]
        choices |= _part_choices(config, choices)
    known = _defaults(choices)
    groups = [group for group in config if group not in _IGNORED and (taught or group != "teacher")]
    if method is not None:
        groups = [group for group in groups if group not in (*_PARTS, "method", "peer", "plug_in")]
    typed = [f"{key}={value}" for key, value in choices.items()]
    for group in groups:
        default = dict(flatten(known.get(group), group))
        typed += [
            f"{key}={_text(value)}"
            for key, value in flatten(config[group], group)
            if default.get(key) != value and not key.endswith(".name")
        ]
    return typed


def _networks(config: Mapping[str, Any]) -> dict[str, str]:
    networks = {group: config[group]["network"] for group in ("teacher", "student")}
    if config["peer"]["network"] != networks["student"]:
        networks["peer"] = config["peer"]["network"]
    return networks


def _part_choices(config: Mapping[str, Any], choices: Mapping[str, str]) -> dict[str, str]:
    """`revision=...` and so on, where the method's file chooses another."""
    known = _defaults(choices)
    return {
        group: _choice_of(group, config[group]["name"])
        for group in _PARTS
        if known[group]["name"] != config[group]["name"]
    }


@cache
def _choice_of(group: str, name: str) -> str:
    """The file of a group whose part has this name; several files may share one part."""
    files = sorted((home() / "conf" / group).glob("*.yaml"))
    return next(path.stem for path in files if yaml.safe_load(path.read_text()).get("name") == name)


def _text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    return str(value)


def _defaults(choices: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of these choices.

    Composing takes a tenth of a second, and a page of tables may need a thousand. So what does not depend on each other
    is composed apart: data and label noise by themselves, and the networks are set afterwards.
    """
    networks = tuple((group, name) for group, name in choices.items() if group in _NETWORKS)
    rest = tuple(f"{key}={value}" for key, value in choices.items() if key not in (*_NETWORKS, *_ALONE))
    alone = {group: _resolved((f"{group}={choices[group]}",), ())[group] for group in _ALONE if group in choices}
    return _resolved(rest, networks) | alone


@cache
def _resolved(overrides: tuple[str, ...], networks: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    from omegaconf import OmegaConf

    config = copy.deepcopy(_compose(overrides))
    for group, name in networks:
        config[group].network = name
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


@cache
def _compose(overrides: tuple[str, ...]) -> Any:
    from hydra import compose

    with composer():
        return compose("config", list(overrides))
