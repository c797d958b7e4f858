"""A figure of runs that differ in a few keys: what was varied, and the accuracies measured at each point, by seed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from kd_experiments.reporting.statistics import Difference, paired_difference

# Keys that make another setting: accuracies are compared within one, so each has a panel of its own.
SETTING = ("experiment", "dataset", "teacher", "student", "peer", "label_noise", "recipe")
MEASURED = "test accuracy at the last epoch [%]"
# What an axis says of a key that has a name or a unit of its own.
NAMES = {
    "selection.ratio": "selected share of the training images",
    "revision.eta": "η of the revision",
    "revision.epsilon": "ε of the revision",
    "weighting.lambda1": "λ₁, weight where the teacher is right",
    "weighting.lambda2": "λ₂, weight where the teacher is wrong",
    "weighting.eta": "η of the threshold",
    "weighting.b": "b, slope of the threshold",
    "temperature.tau0": "base temperature τ₀",
    "temperature.beta": "β of the temperature",
    "temperature.gamma": "γ of the temperature",
    "temperature.value": "temperature T",
    "method.temperature": "temperature T",
    "method.weight": "weight of the distillation loss",
    "method.label_weight": "weight of the label loss",
    "method.kd_weight": "weight of the KD term",
    "label_noise.rate": "share of wrong training labels",
    "dataset.train_size": "training images",
    "recipe.epochs": "epochs",
    "recipe.lr": "learning rate",
}
GEOMETRIC = 4.0  # the least ratio of the largest to the smallest value of a logarithmic axis


@dataclass(frozen=True)
class Cell:
    """One point: its value of every key, and what was measured there, by seed."""

    at: Mapping[str, str]
    values: Mapping[int, float]

    @property
    def interval(self) -> Difference | None:
        """The mean over the seeds with its deviation and 95 % t interval; None where nothing was measured."""
        return paired_difference(self.values, dict.fromkeys(self.values, 0.0))


@dataclass(frozen=True)
class Grid:
    """All points of one figure. `reference` names, by key, the values of the cell that each is compared with."""

    name: str  # for file names
    title: str
    keys: tuple[str, ...]
    cells: tuple[Cell, ...]
    reference: Mapping[str, str]
    command: str  # that fills it

    @cached_property
    def numeric(self) -> tuple[str, ...]:
        """Keys whose values are all numbers, those with most values first."""
        found = [key for key in self.keys if all(number(text) is not None for text in self.texts(key))]
        return tuple(sorted(found, key=lambda key: -len(self.texts(key))))

    def texts(self, key: str) -> list[str]:
        """The values of a key, in the order of the points."""
        return list(dict.fromkeys(cell.at[key] for cell in self.cells))

    def numbers(self, key: str) -> list[float]:
        """The values of a numeric key, ascending."""
        return sorted({value for value in map(number, self.texts(key)) if value is not None})

    def geometric(self, key: str) -> bool:
        """Whether the values of a numeric key are spread evenly over a logarithmic rather than a linear axis."""
        values = np.array(self.numbers(key))
        if len(values) < 3 or values[0] <= 0 or values[-1] < GEOMETRIC * values[0]:
            return False
        linear, logarithmic = np.diff(values), np.diff(np.log(values))
        return bool(logarithmic.std() / logarithmic.mean() < linear.std() / linear.mean())

    def axis(self, key: str) -> str:
        """The label of an axis: the name of the quantity, and the key that sets it."""
        return f"{NAMES[key]} ({key})" if key in NAMES else key

    def groups(self, keys: Iterable[str]) -> dict[str, list[Cell]]:
        """Cells by their values of `keys`, in words; all under one empty name without keys."""
        keys = tuple(keys)
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(", ".join(self._word(key, cell.at[key]) for key in keys), []).append(cell)
        return found

    def _word(self, key: str, text: str) -> str:
        """A choice speaks for itself, a value needs the last word of its key."""
        return text if number(text) is None and "." not in key else f"{key.rpartition('.')[-1]}={text}"

    def reference_of(self, cell: Cell) -> Cell | None:
        """The cell that a cell is compared with; None if there is none, or it is that cell itself."""
        if not self.reference:
            return None
        wanted = {**cell.at, **self.reference}
        return next((other for other in self.cells if other.at == wanted and other is not cell), None)

    @property
    def seeds(self) -> str:
        """How many seeds the points have: `n = 3 seeds`, or `n = 1 to 3 seeds`."""
        counts = sorted({len(cell.values) for cell in self.cells if cell.values})
        low, high = counts[0], counts[-1]
        return f"n = {low if low == high else f'{low} to {high}'} seed{'' if high == 1 else 's'}"


def number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def is_setting(key: str) -> bool:
    """Whether a key makes another setting rather than another method."""
    return key.split(".", 1)[0].split("@", 1)[0] in SETTING
