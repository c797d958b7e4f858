"""The list of all runs by column, as the page's script shows, sorts and filters it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kd_experiments.reporting.report.configurations import Flat, compact, flat, told_apart
from kd_experiments.reporting.report.entries import Entry
from kd_experiments.reporting.report.packing import rounded

_SHOWN = ("dataset.name", "label_noise.name", "label_noise.rate", "student.network", "teacher.network")


def index(entries: Sequence[Entry], chunk: int) -> dict[str, Any]:
    """`columns` with a value a run, `configs` once each without the seed, and how many runs share a `chunk` of details.

    Runs with the same number in the column `config` differ in their seed alone.
    """
    places: dict[str, int] = {}
    own = [places.setdefault(_identity(entry.part("config")), len(places)) for entry in entries]
    configs: list[Flat] = [flat(json.loads(text)) for text in places]
    told = told_apart(configs, _SHOWN)
    columns: dict[str, list[Any]] = {name: [of(entry) for entry in entries] for name, of in _COLUMNS.items()}
    columns["config"] = own
    columns["apart"] = [told[place] for place in own]
    return {"chunk": chunk, "columns": columns, "configs": compact(configs)}


def _identity(config: Mapping[str, Any]) -> str:
    """The configuration without what two runs of one experiment may differ in."""
    return json.dumps({group: content for group, content in config.items() if group not in ("seed", "paths")})


def _figure(group: str, name: str) -> Callable[[Entry], float | int | None]:
    def of(entry: Entry) -> float | int | None:
        value = entry.part(group).get(name)
        short = rounded(value, 7) if isinstance(value, int | float) else None
        return None if isinstance(short, str) else short

    return of


def _name(group: str, key: str) -> Callable[[Entry], str]:
    return lambda entry: str(entry.configured(group, key) or "")


def _noise(entry: Entry) -> str:
    name, rate = entry.configured("label_noise", "name"), entry.configured("label_noise", "rate")
    return "" if name in (None, "none") else f"{name} {rate}"


def _teacher(entry: Entry) -> str:
    return str(entry.part("teacher").get("network") or "")


_COLUMNS: dict[str, Callable[[Entry], Any]] = {
    "signature": lambda entry: entry.name,
    "status": lambda entry: entry.status,
    "method": _name("method", "name"),
    "dataset": _name("dataset", "name"),
    "noise": _noise,
    "teacher": _teacher,
    "student": _name("student", "network"),
    "seed": lambda entry: entry.record.get("seed"),
    "top1": _figure("metrics", "test_top1_last"),
    "best_val": _figure("metrics", "test_top1_best_val"),
    "ece": _figure("metrics", "test_ece_last"),
    "seconds": _figure("timing", "train_seconds"),
    "started": lambda entry: entry.moment("started"),
    "reason": lambda entry: entry.reason,
}
