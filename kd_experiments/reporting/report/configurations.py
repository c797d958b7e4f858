"""Configurations told by what sets them apart, so that thousands of nearly equal ones take little room."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kd_experiments.reporting.records import flatten

_NOT_THE_RESULT = ("tracking.", "device", "threads", "rerun", "snapshots", "teacher.table", "dataset.download")
ABSENT = "(not set)"

Flat = dict[str, str]  # dotted key -> value as it is typed


def flat(config: Mapping[str, Any]) -> Flat:
    """Dotted keys and values as text, without where the data lay on the machine."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for group, content in config.items()
        for key, value in flatten(content, group)
        if key != "dataset.root"
    }


def compact(configs: Sequence[Flat]) -> dict[str, Any]:
    """`keys` and `values` once each; `common` and every one of `unlike` as [key, value, key, value, ...] by place.

    `common` holds the most frequent value of each key; a configuration is `common` changed by its `unlike`, without
    the keys whose value is then `absent`.
    """
    keys = list(dict.fromkeys(key for config in configs for key in config))
    common = {key: _most_frequent([config.get(key, ABSENT) for config in configs]) for key in keys}
    values: dict[str, int] = {}
    places = {key: place for place, key in enumerate(keys)}

    def pairs(config: Mapping[str, str]) -> list[int]:
        return [
            place for key, value in config.items() for place in (places[key], values.setdefault(value, len(values)))
        ]

    unlike = [
        {key: config.get(key, ABSENT) for key in keys if config.get(key, ABSENT) != common[key]} for config in configs
    ]
    return {
        "keys": keys,
        "common": pairs(common),
        "unlike": list(map(pairs, unlike)),
        "values": list(values),
        "absent": ABSENT,
    }


def told_apart(configs: Sequence[Flat], shown: Sequence[str]) -> list[str]:
    """What tells each configuration from the others of its method, beyond the `shown` keys: `key=value, ...`.

    A key that follows from the shown keys and those already told is not repeated.
    """
    told = [""] * len(configs)
    by_method: dict[str, list[int]] = {}
    for place, config in enumerate(configs):
        by_method.setdefault(config.get("method.name", ""), []).append(place)
    for places in by_method.values():
        members = [configs[place] for place in places]
        for place, text in zip(places, _told_apart(members, shown), strict=True):
            told[place] = text
    return told


def _told_apart(configs: Sequence[Flat], shown: Sequence[str]) -> list[str]:
    known = [tuple(config.get(key) for key in shown) for config in configs]
    told: list[list[str]] = [[] for _ in configs]
    for key in dict.fromkeys(key for config in configs for key in config):
        if key in shown or key.startswith(_NOT_THE_RESULT):
            continue
        values = [config.get(key) for config in configs]
        if len(set(zip(known, values, strict=True))) == len(set(known)):
            continue
        known = [(*before, value) for before, value in zip(known, values, strict=True)]
        for parts, value in zip(told, values, strict=True):
            if value is not None:
                parts.append(f"{key}={value}")
    return [", ".join(parts) for parts in told]


def _most_frequent(values: Sequence[str]) -> str:
    counted = Counter(values)
    return min(counted, key=lambda value: (-counted[value], value))
