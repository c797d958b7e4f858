"""Configurations of older records: keys that came later are filled with what their choice says today."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import yaml

from kd_experiments.cli.composing import composed
from kd_experiments.places import home

_PARTS = ("revision", "selection", "weighting", "temperature", "label_loss")
_compose = cache(composed)


def completed(given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` with every key it lacks from the files of its own choices; what it says is kept.

    Raises what Hydra raises where a choice of the record is gone.
    """
    return _filled(given, _compose(_choices(given)))


def _choices(given: Mapping[str, Any]) -> tuple[str, ...]:
    """The overrides that choose what the record chose."""
    typed = {group: given[group]["name"] for group in ("method", "dataset", "label_noise", "recipe")}
    typed |= {group: given[group]["network"] for group in ("teacher", "student", "peer")}
    typed |= {group: _file_of(group, given[group]["name"]) for group in _PARTS}
    typed["recipe@teacher.recipe"] = given["teacher"]["recipe"]["name"]
    return tuple(f"{key}={value}" for key, value in typed.items())


@cache
def _file_of(group: str, name: str) -> str:
    """The choice whose file has this name inside; several files may share one part."""
    paths = sorted((home() / "conf" / group).glob("*.yaml"))
    return next((path.stem for path in paths if yaml.safe_load(path.read_text()).get("name") == name), name)


def _filled(given: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """`given`, and of `default` what it lacks, at every depth."""
    deeper = {
        key: _filled(value, default[key])
        for key, value in given.items()
        if isinstance(value, Mapping) and isinstance(default.get(key), Mapping)
    }
    return {**default, **given, **deeper}
