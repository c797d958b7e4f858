"""Numbers from papers that belong beside ours: same data set, same networks, same label noise, same method.

`names.csv` beside them says which of our methods does what a paper's name stands for, and what differs in more than
the name; a name that is not there has no counterpart, and is never shown beside ours. `footing.csv` says how each
source measured.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from kd_experiments.places import published_numbers
from kd_experiments.reporting.frame import Run
from kd_experiments.reporting.settings import first

# torchvision's networks are those of the ImageNet papers.
NETWORKS = {"tv_resnet18": "ResNet18", "tv_resnet34": "ResNet34", "tv_resnet50": "ResNet50"}
TEACHER = "teacher"
HEAD: tuple[str, ...] = ("source", "data", "numbers", "statistic", "epochs", "augmentation", "seeds", "beside ours")
FILES = ("cifar100", "imagenet", "cifar100_label_noise")


@dataclass(frozen=True)
class Published:
    """One number of a paper: top-1 in per cent, and which statistic it is of which source."""

    top1: float
    origin: str


def published(runs: Sequence[Run], method: str) -> Sequence[Published]:
    """What papers say of `method` (a method file, or TEACHER) with the data, networks and label noise of these runs.

    Empty where they say nothing; a student alone is found below any teacher. A part of a data set is another data set.
    """
    if first(runs, "dataset.train_size"):
        return ()
    name, noise = str(first(runs, "dataset.name")), str(first(runs, "label_noise.name", "none"))
    networks = [str(first(runs, f"{role}.network")) for role in ("teacher", "student")]
    teacher, student = (NETWORKS.get(network, network) for network in networks)
    if noise != "none":  # papers spell its networks in several ways
        beside, student = f"{noise} {first(runs, 'label_noise.rate', '')}", student.lower()
    else:
        beside = teacher if any("teacher" in run for run in runs) else ""
    return list(_numbers().get((name, student, beside, method), {}))


def quoted(cells: Sequence[Sequence[Published]]) -> tuple[list[str], list[str]]:
    """`70.66 [1]; 71.24 [2]` for each cell, and notes that say how to read them and name the sources."""
    origins = list(dict.fromkeys(one.origin for numbers in cells for one in numbers))
    texts = ["; ".join(f"{one.top1:.2f} [{origins.index(one.origin) + 1}]" for one in cell) for cell in cells]
    known = "; ".join(f"[{place}] {origin}" for place, origin in enumerate(origins, start=1))
    note = "Published numbers are top-1 in per cent from papers, under their recipes; they were not computed here and"
    return texts, [f"{note} enter no mean, difference or rank. {known}."] if origins else []


@cache
def _numbers() -> Mapping[tuple[str, str, str, str], Mapping[Published, None]]:
    """(data set, student, teacher or noise, method) -> numbers, each once; a student alone has no teacher, too."""
    names = {row["paper"]: row for row in _rows("names")}
    found: dict[tuple[str, str, str, str], dict[Published, None]] = {}
    for name in FILES:
        for row in _rows(name):
            ours = names.get(row["method"])
            if ours is None or row.get("noise") == "none":
                continue
            method, remark = ours["method"], ours["remark"]
            one = Published(float(row["top1"]), f"{row['statistic']}; {row['source']}{remark and f', {remark}'}")
            if "noise" in row:
                keys = [("cifar100", row["network"].lower(), f"{row['noise']} {float(row['rate']):g}", method)]
            else:
                keys = [(name, row["student"], row["teacher"], method)]
                keys += [(name, row["student"], "", method)] * (method == "none")
            for key in keys:
                found.setdefault(key, {})[one] = None
    return found


def footing() -> list[tuple[str, ...]]:
    """On what footing each source stands beside our runs: a head, and a row for each source, data set and statistic.

    What is counted comes from the numbers themselves; `footing.csv` says of each source what they do not.
    """
    told = _rows("footing")
    counts = Counter((row["source"], name, row["statistic"]) for name in FILES for row in _rows(name))
    rows = [HEAD]
    for (source, name, statistic), count in sorted(counts.items()):
        known = next(row for row in told if source.startswith(row["source"]))
        facts = (known["epochs"], known["augmentation"], known["seeds"], known["remark"])
        rows.append((source, name.replace("_", " "), str(count), statistic, *facts))
    return rows


def _rows(name: str) -> list[dict[str, str]]:
    with open(published_numbers() / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
