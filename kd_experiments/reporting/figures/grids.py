"""The grids there are: one for each sweep with a finished run, and those that runs outside of all sweeps make up."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kd_experiments.reporting import records
from kd_experiments.reporting.figures.grid import Cell, Grid
from kd_experiments.reporting.figures.runs import Run, Setting, Variant, settings, variants, varied
from kd_experiments.reporting.records import PRIMARY
from kd_experiments.reporting.records import Run as Record
from kd_experiments.reporting.sweep_filter import promising
from kd_experiments.sweeping import definitions as catalogue
from kd_experiments.sweeping.definitions import Sweep

REFERENCES = ("kd", "none")  # of these methods the first that was run is what others are compared with


def of_sweeps(found: Sequence[Record], results: Path) -> tuple[list[Grid], set[str]]:
    """A grid for each sweep with a complete run, by name; and the signatures of the runs that these sweeps define."""
    measured = {run.signature: run.record for run in found}
    grids: list[Grid] = []
    defined: set[str] = set()
    for name in promising(catalogue.names(), records.settings(found)):
        sweep = catalogue.read(name, results)
        signatures = {job.signature for job in sweep.jobs}
        defined |= signatures
        if signatures & measured.keys():
            grids.append(of_sweep(sweep, measured))
    return grids, defined


def of_sweep(sweep: Sweep, measured: Mapping[str, Mapping[str, Any]]) -> Grid:
    """The points of a sweep, also those without a run; keys that have one value alone are left out."""
    swept = dict.fromkeys(key for job in sweep.jobs for key in job.overrides if key != "seed")
    keys = tuple(key for key in swept if len({job.overrides.get(key, "") for job in sweep.jobs}) > 1)
    points: dict[tuple[str, ...], dict[int, float]] = {}
    done = set()
    for job in sweep.jobs:
        values = points.setdefault(tuple(job.overrides.get(key, "") for key in keys), {})
        if job.signature in measured:
            record = measured[job.signature]
            values[record["seed"]] = record["metrics"][PRIMARY]
            done.add(job.signature)
    cells = tuple(Cell(dict(zip(keys, at, strict=True)), values) for at, values in points.items())
    count = len({job.signature for job in sweep.jobs})
    state = f"{count} runs" if len(done) == count else f"{len(done)} of {count} runs done"
    reference = {key: value for key, value in sweep.table.reference.items() if key in keys}
    if not reference and "method" in keys:
        reference = _reference({cell.at["method"] for cell in cells if cell.values}, "method")
    name = f"sweep-{sweep.name.replace('/', '-')}"
    return Grid(name, f"{sweep.title.rstrip('.')}\n{sweep.name}: {state}", keys, cells, reference, sweep.command)


def of_others(runs: Iterable[Run]) -> list[Grid]:
    """What runs outside of all sweeps make up, in each setting: the methods, and the variants of each method; over
    settings, the methods at several rates of label noise.
    """
    runs = list(runs)
    grids: list[Grid] = []
    for setting in settings(runs):
        found = variants(setting.runs)
        grids += _methods(setting, found)
        by_method: dict[str, list[Variant]] = defaultdict(list)
        for variant in found:
            by_method[variant.runs[0].method].append(variant)
        for method, alike in by_method.items():
            grids += _variants(setting, method, alike)
    return [*grids, *_noise_rates(runs)]


def _methods(setting: Setting, found: Sequence[Variant]) -> list[Grid]:
    """One point a method; where a method has several variants, one each."""
    if len({variant.runs[0].method for variant in found}) < 2:
        return []
    cells = tuple(Cell({"method": variant.name}, _values(variant.runs)) for variant in found)
    reference = _reference({variant.name for variant in found}, "method")
    command = "python -m kd_experiments --multirun method=none,kd,lrds seed=0,1,2"
    return [Grid(f"methods-{setting.slug}", setting.title, ("method",), cells, reference, command)]


def _variants(setting: Setting, method: str, alike: Sequence[Variant]) -> list[Grid]:
    """The variants of one method over the keys in which they differ."""
    if len(alike) < 2:
        return []
    own = [variant.runs[0].keys for variant in alike]
    keys = varied(own)
    points = [{key.removesuffix(".name"): str(each[key]) for key in keys} for each in own]
    if len({tuple(at.values()) for at in points}) < len(points):  # they differ in keys that only some of them have
        points = [{"variant": variant.name} for variant in alike]
    cells = tuple(Cell(at, _values(variant.runs)) for at, variant in zip(points, alike, strict=True))
    title = f"{method}: {setting.title}"
    command = f"python -m kd_experiments --multirun method={method} seed=0,1,2"
    return [Grid(f"variants-{method}-{setting.slug}", title, tuple(points[0]), cells, {}, command)]


def _noise_rates(runs: Sequence[Run]) -> list[Grid]:
    """Methods over the rate of label noise, all else being equal; a setting without noise is rate 0 of every kind."""
    groups: dict[str, list[Setting]] = defaultdict(list)
    for setting in settings(runs):
        config = setting.runs[0].record["config"]
        alike = {key: value for key, value in config.items() if key in ("dataset", "student", "recipe")}
        network = None if setting.teacher is None else setting.teacher["network"]
        groups[hashlib.sha256(repr((alike, network)).encode()).hexdigest()[:6]].append(setting)
    return [grid for name, group in groups.items() for grid in _noise_rates_of(name, group)]


def _noise_rates_of(name: str, group: Sequence[Setting]) -> list[Grid]:
    points: dict[tuple[str, str, str], dict[int, float]] = {}
    kinds = {noise["name"] for setting in group if (noise := setting.config["label_noise"])["name"] != "none"}
    for setting in group:
        noise = setting.config["label_noise"]
        for kind in sorted(kinds) if noise["name"] == "none" else [noise["name"]]:
            for variant in variants(setting.runs):
                at = (kind, f"{noise.get('rate', 0.0):g}", variant.name)
                points.setdefault(at, {}).update(_values(variant.runs))
    keys = ("label_noise", "label_noise.rate", "method")
    if len({rate for _, rate, _ in points}) < 2:
        return []
    cells = tuple(Cell(dict(zip(keys, at, strict=True)), values) for at, values in points.items())
    config = group[0].config
    title = f"Label noise: {config['dataset']['name']}, student {config['student']['network']}"
    used = tuple(key for key in keys if key == "label_noise.rate" or len({cell.at[key] for cell in cells}) > 1)
    command = "python -m kd_experiments --multirun method=none,cmd_p label_noise=symmetric label_noise.rate=0.2,0.4"
    slug = f"noise_rates-{config['dataset']['name']}-{config['student']['network']}-{name}"
    return [Grid(slug, title, used, cells, {}, command)]


def _values(runs: Iterable[Run]) -> dict[int, float]:
    return {run.seed: run.record["metrics"][PRIMARY] for run in runs}


def _reference(names: set[str], key: str) -> dict[str, str]:
    return next(({key: name} for name in REFERENCES if name in names), {})
