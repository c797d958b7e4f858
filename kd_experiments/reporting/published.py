"""Numbers from papers that belong beside ours: same data set, same networks, same label noise, same method."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import pandas as pd

from kd_experiments.places import published_numbers
from kd_experiments.reporting.settings import first

# What papers call what our method files do. A name that is not here has no counterpart: it is never shown beside ours.
METHODS = {
    "student": "none", "KD": "kd", "FitNet": "fitnet", "AT": "at", "SP": "sp", "CC": "cc", "VID": "vid", "RKD": "rkd",
    "PKT": "pkt", "AB": "ab", "FT": "ft", "FSP": "fsp", "NST": "nst", "CRD": "crd", "OFD": "ofd", "RC": "rc",
    "ReviewKD": "reviewkd", "DKD": "dkd", "DIST": "dist", "RLD": "rld", "LR": "lr_rld", "LA": "la_ps", "CTKD": "ctkd",
    "TTM": "ttm", "WTTM": "wttm",
    "KD+LS": "standardised_kd", "DKD+LS": "standardised_dkd", "MLKD(480ep,RandAug)": "mlld",
    "CE": "none", "LS": "none_ls", "CP": "none_cp", "Boot-soft": "none_boot_soft", "ProSelfLC": "none_proselflc",
}  # fmt: skip
# Of these the paper and our file differ in more than the name.
REMARKS = {
    "LR": "LR as re-run there",
    "LA": "LA as re-run there",
    "TTM": "T and weight of each pair",
    "WTTM": "T and weight of each pair",
    "MLKD(480ep,RandAug)": "480 epochs, RandAugment",
}
# torchvision's networks are those of the ImageNet papers.
NETWORKS = {"tv_resnet18": "ResNet18", "tv_resnet34": "ResNet34", "tv_resnet50": "ResNet50"}
TEACHER = "teacher"

_Key = tuple[str, ...]


@dataclass(frozen=True)
class Published:
    """One number of a paper: top-1 in per cent, which statistic it is, and where it stands."""

    top1: float
    statistic: str
    source: str

    @property
    def origin(self) -> str:
        return f"{self.statistic}; {self.source}"


def published(runs: pd.DataFrame, method: str) -> Sequence[Published]:
    """What papers say of `method` (a method file, or TEACHER) with the data, networks and label noise of these runs.

    Empty where they say nothing; a student alone is found below any teacher. A part of a data set is another data set.
    """
    if first(runs, "dataset.train_size"):
        return ()
    name, noise = str(first(runs, "dataset.name")), first(runs, "label_noise.name", "none")
    student = _network(first(runs, "student.network"))
    if noise != "none":
        rate = f"{first(runs, 'label_noise.rate'):g}"
        return _noise().get((name, student.lower(), str(noise), rate, method), ())
    if not runs["teacher"].notna().any():
        return _students().get((name, student), ()) if method == "none" else ()
    return _pairs().get((name, _network(first(runs, "teacher.network")), student, method), ())


def _network(name: object) -> str:
    return NETWORKS.get(str(name), str(name))


class Sources:
    """Numbers the sources that a table quotes, from 1, in the order they are met."""

    def __init__(self) -> None:
        self._places: dict[str, int] = {}

    def quote(self, numbers: Sequence[Published]) -> str:
        """`70.66 [1]; 71.24 [2]`."""
        return "; ".join(f"{one.top1:.2f} [{self._place(one.origin)}]" for one in numbers)

    def notes(self) -> list[str]:
        """How to read the numbers, and the source of each; nothing where none was quoted."""
        if not self._places:
            return []
        known = "; ".join(f"[{place}] {origin}" for origin, place in self._places.items())
        return [
            "Published numbers are top-1 in per cent from papers, under their recipes; they were not computed here and "
            f"enter no mean, difference or rank. {known}."
        ]

    def _place(self, origin: str) -> int:
        return self._places.setdefault(origin, len(self._places) + 1)


@cache
def _pairs() -> Mapping[_Key, Sequence[Published]]:
    """(data set, teacher, student, method) -> numbers."""
    found: dict[_Key, list[Published]] = defaultdict(list)
    for name in ("cifar100", "imagenet"):
        for row in _rows(name):
            method = TEACHER if row["method"] == "teacher" else METHODS.get(row["method"])
            if method is not None:
                found[name, row["teacher"], row["student"], method].append(_number(row))
    return found


@cache
def _students() -> Mapping[_Key, Sequence[Published]]:
    """(data set, student) -> numbers of the student alone, each once."""
    found: dict[_Key, dict[Published, None]] = defaultdict(dict)
    for (name, _, student, method), numbers in _pairs().items():
        if method == "none":
            found[name, student] |= dict.fromkeys(numbers)
    return {key: list(numbers) for key, numbers in found.items()}


@cache
def _noise() -> Mapping[_Key, Sequence[Published]]:
    """(data set, network, noise, rate, method) -> numbers; networks in lower case, as the papers' spelling varies."""
    found: dict[_Key, list[Published]] = defaultdict(list)
    for row in _rows("cifar100_label_noise"):
        if row["noise"] != "none" and row["method"] in METHODS:
            key = ("cifar100", row["network"].lower(), row["noise"], f"{float(row['rate']):g}", METHODS[row["method"]])
            found[key].append(_number(row))
    return found


def _rows(name: str) -> list[dict[str, str]]:
    with open(published_numbers() / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _number(row: Mapping[str, str]) -> Published:
    remark = REMARKS.get(row["method"])
    return Published(float(row["top1"]), row["statistic"], row["source"] + (f", {remark}" if remark else ""))
