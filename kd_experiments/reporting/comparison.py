"""One table: every method that was run in one setting, with its difference to a reference paired by seed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from kd_experiments.reporting.commands import command as command_of
from kd_experiments.reporting.records import Run, frame, method_keys, setting_keys
from kd_experiments.reporting.statistics import Difference, Spread, paired_difference, spread

PRIMARY = "test_top1_last"
REFERENCES = ("kd", "none")  # the first of these that was run is what methods are compared with


@dataclass(frozen=True)
class Row:
    """One method (or the teacher) with all its seeds."""

    label: str
    seeds: tuple[int, ...]
    figures: Mapping[str, Spread]
    difference: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Everything a table shows; formats only lay it out."""

    name: str  # file name without ending
    title: str
    setting: Mapping[str, Any]
    reference: str | None
    teacher: Mapping[str, Any] | None
    rows: Sequence[Row]
    notes: Sequence[str] = field(default_factory=tuple)


def comparisons(runs: Sequence[Run], references: Sequence[str] = REFERENCES) -> list[Comparison]:
    """A table for each setting and teacher; runs without a frozen teacher stand in the table of every teacher.

    Differences are to the first of `references`, names of methods, that was run in the setting.
    """
    tables = []
    for setting in sorted({run.setting for run in runs}):
        members = [run for run in runs if run.setting == setting]
        free = [run for run in members if run.teacher is None]
        teachers = sorted({run.teacher for run in members if run.teacher is not None})
        for teacher in teachers:
            tables.append(_compare([run for run in members if run.teacher == teacher] + free, references))
        if not teachers:
            tables.append(_compare(free, references))
    return sorted(tables, key=lambda table: table.name)


def _compare(runs: Sequence[Run], references: Sequence[str]) -> Comparison:
    table = frame(list(runs))
    labels = _labels(runs)
    config = runs[0].record["config"]
    teacher = next((run.record["teacher"] for run in runs if run.teacher is not None), None)
    variants = sorted(labels, key=lambda variant: (_place(labels[variant]), labels[variant]))
    reference = _reference(table, labels, references)
    reference_values = _by_seed(table, reference) if reference else {}
    seeds = sorted(set(table["seed"]))
    rows, notes = [], []
    for variant in variants:
        part = table[table["variant"] == variant]
        figures = {
            name: spread(part[name].tolist())
            for name in part.columns
            if pd.api.types.is_numeric_dtype(part[name]) and name != "seed" and part[name].notna().any()
        }
        difference = None
        if reference is not None and variant != reference:
            difference = paired_difference(_by_seed(table, variant), reference_values)
        example = next(run for run in runs if run.variant == variant)
        has = tuple(sorted(part["seed"]))
        rows.append(Row(labels[variant], has, figures, difference))
        missing = [seed for seed in seeds if seed not in has]
        if missing:
            notes.append(
                f"{labels[variant]} lacks seed {', '.join(map(str, missing))}: "
                f"{command_of(example.record['config'])} --multirun seed={','.join(map(str, missing))}"
            )
    if "kd" in references and not (table["method"] == "kd").any():
        notes.append(f"difference to KD, which was not run here: {command_of(config, method='kd')}")
    setting = setting_keys(config)
    return Comparison(
        name=_slug(config, teacher, setting),
        title=_title(config, teacher),
        setting=setting,
        reference=labels[reference] if reference else None,
        teacher=teacher,
        rows=rows,
        notes=notes,
    )


def _labels(runs: Sequence[Run]) -> dict[str, str]:
    """Variant -> label: the method's name, and where a name has several variants the keys in which they differ."""
    keys = {run.variant: method_keys(run.record["config"]) for run in runs}
    names = {run.variant: run.method for run in runs}
    labels = {}
    for variant, own in keys.items():
        namesakes = [keys[other] for other in keys if names[other] == names[variant]]
        differing = [
            key for key in own if any(namesake.get(key) != own[key] for namesake in namesakes) and key != "method.name"
        ]
        shown = [f"{key}={own[key]}" for key in differing if not key.endswith(".name")] or [
            f"{key.removesuffix('.name')}={own[key]}" for key in differing
        ]
        named = [f"{key.removesuffix('.name')}={own[key]}" for key in differing if key.endswith(".name")]
        text = ", ".join(dict.fromkeys([*named, *shown]))
        labels[variant] = f"{names[variant]} ({text})" if text else names[variant]
    return labels


def _reference(table: pd.DataFrame, labels: Mapping[str, str], references: Sequence[str]) -> str | None:
    """The variant of the first reference method that was run; of several the one with most seeds."""
    for name in references:
        candidates = sorted({str(variant) for variant in table.loc[table["method"] == name, "variant"]})
        if candidates:
            return max(candidates, key=lambda variant: ((table["variant"] == variant).sum(), -len(labels[variant])))
    return None


def _by_seed(table: pd.DataFrame, variant: str) -> dict[int, float]:
    part = table[table["variant"] == variant]
    return dict(zip(part["seed"].tolist(), part[PRIMARY].tolist(), strict=True))


def _place(label: str) -> int:
    """The baseline first, then the reference, then the others by name."""
    name = label.split(" ", 1)[0]
    return 0 if name == "none" else 1 if name.startswith("none_") else 2 if name == "kd" else 3


def _title(config: Mapping[str, Any], teacher: Mapping[str, Any] | None) -> str:
    pair = f"{teacher['network']} → {config['student']['network']}" if teacher else config["student"]["network"]
    size = f", {config['dataset']['train_size']:,} training images" if config["dataset"]["train_size"] else ""
    noise = config["label_noise"]
    wrong = "" if noise["name"] == "none" else f", {noise['name']} label noise {noise['rate']:g}"
    recipe = config["recipe"]
    length = f"{recipe['iterations']} iterations" if recipe.get("iterations") else f"{recipe['epochs']} epochs"
    return f"{config['dataset']['name']}{size}{wrong}: {pair}, {length}"


def _slug(config: Mapping[str, Any], teacher: Mapping[str, Any] | None, setting: Mapping[str, Any]) -> str:
    noise = config["label_noise"]
    parts = [config["dataset"]["name"]]
    parts += [f"{noise['name']}{noise['rate']:g}"] if noise["name"] != "none" else []
    parts += [teacher["network"]] if teacher else []
    identity = repr(sorted(setting.items())) + (teacher["signature"] if teacher else "")
    return "-".join([*parts, config["student"]["network"], hashlib.sha256(identity.encode()).hexdigest()[:6]])
