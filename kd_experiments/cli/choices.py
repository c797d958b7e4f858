"""What there is to choose from, read off the configuration files; imports nothing heavy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from kd_experiments import own_code
from kd_experiments.networks.registry import names as network_names
from kd_experiments.places import config_folders, files_below, files_of, sweep_folders


@dataclass(frozen=True)
class Method:
    """One method file, as the comment at its head describes it."""

    name: str
    about: str
    title: str  # as its paper calls it
    paper: str
    section: str  # by its subject: numbers differ between the versions of a paper
    year: str
    evidence: str


def choices() -> dict[str, list[str]]:
    """Config groups and their choices, in the order a person meets them."""
    own_code.load()
    groups = {
        group: list(files_of(group))
        for group in (
            "method",
            "plug_in",
            "dataset",
            "label_noise",
            "revision",
            "selection",
            "weighting",
            "temperature",
        )
    }
    groups |= {"teacher": network_names(), "student": network_names(), "peer": ["same", *network_names()]}
    for group in ("label_loss", "recipe", "tracking"):
        groups[group] = list(files_of(group))
    groups["experiment"] = list(files_below([folder / "experiment" for folder in config_folders()]))
    groups["+sweeps"] = list(files_below(sweep_folders()))
    return groups


def methods() -> list[Method]:
    """Every method file, by year and name."""
    found = [read_method(path) for path in files_of("method").values()]
    return sorted(found, key=lambda method: (method.year, method.name))


def read_method(path: Path) -> Method:
    """Parse the head of a file: what it does; `[Name: ...] Paper: ... [Section: ...] Year: ... Evidence: ...`."""
    comments = [line.removeprefix("#").strip() for line in path.read_text().splitlines() if line.startswith("#")]
    pattern = r"(?:Name: (.+?)\. )?Paper: (.+?)\.?(?: Section: (.+)\.)? Year: (\S+)\. Evidence: (.+)"
    head = re.fullmatch(pattern, comments[2])
    if comments[0] != "@package _global_" or head is None:
        raise ValueError(
            f"{path}: the first three lines must be '# @package _global_', one line, '# Paper: ... Year: ...'"
        )
    title, *rest = head.groups(default="")
    return Method(path.stem, comments[1], title or path.stem, *rest)
