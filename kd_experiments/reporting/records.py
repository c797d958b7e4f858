"""Records of runs as one table: a row a run, dotted configuration keys and figures as columns."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kd_experiments.tracking.record import read_record

# Configuration that makes up the setting in which methods are compared; everything else but the seed is the method.
SETTING = ("dataset", "label_noise", "student", "recipe")
METHOD = ("method", "revision", "selection", "weighting", "temperature", "label_loss")
_PLACES = {"dataset.root", "dataset.download"}


@dataclass(frozen=True)
class Run:
    """One complete run, as far as tables care."""

    signature: str
    seed: int
    setting: str  # digest of SETTING
    teacher: str | None  # the teacher's signature; None without one
    variant: str  # digest of the method and its parts
    method: str
    record: Mapping[str, Any]


def read_runs(results: Path) -> tuple[list[Run], dict[str, int]]:
    """Complete runs below `results/runs`, sorted by signature, and how many records have which status."""
    runs: list[Run] = []
    statuses: dict[str, int] = {}
    for path in sorted((results / "runs").glob("*/record.json")):
        record = read_record(path)
        status = "unreadable" if record is None else str(record["status"])
        statuses[status] = statuses.get(status, 0) + 1
        if record is not None and status == "complete":
            runs.append(as_run(record))
    return runs, statuses


def as_run(record: Mapping[str, Any]) -> Run:
    config = record["config"]
    teacher = record.get("teacher")
    return Run(
        signature=record["signature"],
        seed=record["seed"],
        setting=_digest({group: _relevant(config, group) for group in SETTING}),
        teacher=None if teacher is None else teacher["signature"],
        variant=_digest(method_keys(config)),
        method=config["method"]["name"],
        record=record,
    )


def method_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of the method and its parts; without a teacher or peer only what then matters."""
    if config["method"]["distiller"] == "none":
        return {"method.name": config["method"]["name"], **dict(flatten(config["label_loss"], "label_loss"))}
    groups = [*METHOD, "peer"] if config["method"]["source"] == "peer" else list(METHOD)
    return {key: value for group in groups for key, value in flatten(config[group], group)}


def setting_keys(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys of the setting, without places on the machine."""
    return {key: value for group in SETTING for key, value in flatten(config[group], group) if key not in _PLACES}


def flatten(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}")
    else:
        yield prefix, value


def frame(runs: list[Run]) -> pd.DataFrame:
    """One row a run: identity columns, then every figure of `metrics`, `timing`, `selection` and `revision`."""
    rows = []
    for run in runs:
        record = run.record
        figures = dict(record["metrics"]) | {
            key: value for key, value in record["timing"].items() if key != "this_call_seconds"
        }
        if "selection" in record:
            figures["selected_share"] = record["selection"]["share"] * 100
        if record.get("revision", {}).get("name", "none") != "none":
            figures["revised_share"] = record["revision"]["revised"] / record["data"]["train"] * 100
        identity = {
            "signature": run.signature,
            "seed": run.seed,
            "setting": run.setting,
            "teacher": run.teacher,
            "variant": run.variant,
            "method": run.method,
        }
        rows.append(identity | figures)
    return pd.DataFrame(rows)


def _relevant(config: Mapping[str, Any], group: str) -> Any:
    return {key: value for key, value in flatten(config[group], group) if key not in _PLACES}


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
