"""The command that makes a run, from its configuration: choices first, then every key that differs from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from kd_experiments.places import home
from kd_experiments.reporting.records import flatten

_PARTS = ("revision", "selection", "weighting", "temperature", "label_loss")
_IGNORED = ("paths", "tracking", "device", "threads", "rerun", "seed", "snapshots")


def command(config: Mapping[str, Any], method: str | None = None) -> str:
    """`python -m kd_experiments ...` for the method and setting of `config`; the seed is left to the caller.

    With `method`, another method in the same setting, as its file has it.
    """
    try:
        return " ".join(["python -m kd_experiments", *_overrides(config, method)])
    except Exception:  # a record of another version may hold choices that are gone
        return f"python -m kd_experiments method={method or config['method']['name']}"


def _overrides(config: Mapping[str, Any], method: str | None) -> list[str]:
    defaults = _compose(())
    name = method or config["method"]["name"]
    taught = method is not None or (config["method"]["distiller"] != "none" and config["method"]["source"] == "teacher")
    choices = {"method": name} | {group: config[group]["name"] for group in ("dataset", "label_noise", "recipe")}
    choices |= {group: config[group]["network"] for group in ("teacher", "student")}
    if config["peer"]["network"] != config["student"]["network"]:
        choices["peer"] = config["peer"]["network"]
    choices["recipe@teacher.recipe"] = config["teacher"]["recipe"]["name"]
    if not taught:  # the teacher's part of the configuration does not matter
        choices = {group: choice for group, choice in choices.items() if "teacher" not in group}
    default_choice = {"dataset": "digits", "label_noise": "none", "recipe": "quick", "recipe@teacher.recipe": "brief"}
    default_choice |= {group: defaults[group]["network"] for group in ("teacher", "student")}
    typed = [f"{key}={value}" for key, value in choices.items() if value != default_choice.get(key)]
    if method is None:
        typed += _part_choices(config, typed)
    composed = _compose(tuple(typed))
    groups = [group for group in config if group not in _IGNORED and (taught or group != "teacher")]
    if method is not None:
        groups = [group for group in groups if group not in (*_PARTS, "method", "peer")]
    for group in groups:
        known = dict(flatten(composed.get(group), group))
        typed += [
            f"{key}={_text(value)}"
            for key, value in flatten(config[group], group)
            if known.get(key) != value and not key.endswith(".name")
        ]
    return typed


def _part_choices(config: Mapping[str, Any], typed: list[str]) -> list[str]:
    """`revision=...` and so on, where the method's file chooses another."""
    composed = _compose(tuple(typed))
    return [
        f"{group}={_choice_of(group, config[group]['name'])}"
        for group in _PARTS
        if composed[group]["name"] != config[group]["name"]
    ]


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


@cache
def _compose(overrides: tuple[str, ...]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    from kd_experiments.choices import register_networks

    os.environ.setdefault("KD_EXPERIMENTS_HOME", str(home()))
    register_networks()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(Path(home() / "conf")), version_base="1.3"):
        content = OmegaConf.to_container(compose("config", list(overrides)), resolve=True)
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}
