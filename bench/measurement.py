"""One measured figure, its JSON line, and how parts are timed so that they can be compared."""

from __future__ import annotations

import datetime
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

import torch

from kd_experiments.tracking.machine import machine
from kd_experiments.training import devices

Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Setting:
    """How long to measure, where, and which methods (all, where none is named)."""

    quick: bool
    device: torch.device
    turns: int | None = None
    methods: Sequence[str] = ()

    def repetitions(self, full: int) -> int:
        return self.turns or (2 if self.quick else full)

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of the methods that are wanted; of all, for a quick look, every sixth."""
        if self.methods:
            return [name for name in names if name in self.methods]
        return list(names[:: 6 if self.quick else 1])


def here(quick: bool, turns: int | None = None, methods: Sequence[str] = ()) -> Setting:
    """Measure on the device that a run would pick."""
    device = devices.pick("auto")
    devices.make_deterministic(device, None)
    return Setting(quick, device, turns, methods)


@dataclass(frozen=True)
class Measurement:
    """A number, once for each repetition, and what it should be.

    `target` is a bound from below where `better` is `higher`, else from above; None where nothing was promised.
    `parts` are the measured seconds (or what else is named) the number was computed from. `fastest` is the ratio of
    the fastest turns: other programs only ever add, so on a busy machine it says more than the median of few turns.
    """

    name: str
    about: str
    setting: str
    unit: Literal["x", "s", "%"]
    better: Literal["higher", "lower"]
    target: float | None
    values: Sequence[float]
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)
    note: str = ""
    fastest: float | None = None

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None without one, or where nothing was measured."""
        if self.target is None or not self.values:
            return None
        return self.median >= self.target if self.better == "higher" else self.median <= self.target

    def line(self, setting: Setting) -> str:
        """The figure as one line of JSON, with everything needed to judge it."""
        measured: dict[str, float | None] = {"median": None, "min": None, "max": None}
        if self.values:
            measured = {"median": self.median, "min": min(self.values), "max": max(self.values)}
        content: dict[str, Any] = {
            "figure": self.name,
            "about": self.about,
            "setting": self.setting,
            "unit": self.unit,
            "better": self.better,
            "target": self.target,
            "met": self.met,
            **{name: _rounded(value) for name, value in measured.items()},
            "fastest": _rounded(self.fastest),
            "repetitions": len(self.values),
            "values": [_rounded(value) for value in self.values],
            "parts": {name: [_rounded(value) for value in part] for name, part in self.parts.items()},
            "note": self.note,
            "quick": setting.quick,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "load_before": _rounded(os.getloadavg()[0]),
            "machine": asdict(machine(setting.device)),
        }
        return json.dumps(content)


def interleaved(
    parts: Mapping[str, Callable[[], object]], repetitions: int, device: torch.device, warm_up: bool = True
) -> Seconds:
    """Seconds of each part, run in turn A B C A B C ...: what slows the machine for a while slows all of them.

    With `warm_up` each part runs once before, untimed.
    """
    if warm_up:
        for part in parts.values():
            part()
    seconds: Seconds = {name: [] for name in parts}
    for _ in range(repetitions):
        for name, part in parts.items():
            seconds[name].append(timed(part, device))
    return seconds


def timed(part: Callable[[], object], device: torch.device) -> float:
    """Wall-clock seconds of one call, the device's work included."""
    _wait(device)
    started = time.perf_counter()
    part()
    _wait(device)
    return time.perf_counter() - started


class Compared(TypedDict):
    """What a `Measurement` says of two parts."""

    values: list[float]
    fastest: float | None


def compared(above: Sequence[float], below: Sequence[float]) -> Compared:
    """One ratio for each repetition, and that of the fastest of each part; None where nothing was measured."""
    found = [a / b for a, b in zip(above, below, strict=True)]
    return {"values": found, "fastest": min(above) / min(below) if found else None}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")
