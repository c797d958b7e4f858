"""What may stand in a row of the frame of runs, whoever has written it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from kd_experiments.errors import UserError, shortened
from kd_experiments.schema import parameters, typed
from kd_experiments.tracking.record import DataFacts, RevisionFacts, SelectionFacts, Status, StudentFacts, TeacherFacts

_PARTS: Mapping[str, Mapping[str, Any]] = {
    "data": parameters(DataFacts),
    "teacher": parameters(TeacherFacts),
    "selection": parameters(SelectionFacts),
    "revision": parameters(RevisionFacts),
    "student": parameters(StudentFacts),
}
_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("stage", "method", "replicate", "teacher", "finished", "dataset.name", "label_noise.name"), str),
    "status": Status, "seed": int, "typed": tuple[str, ...], "label_noise.rate": float, "dataset.train_size": int,
}  # fmt: skip


def complaint(row: Mapping[str, Any]) -> str | None:
    """What is wrong with a row of which others would compute or name files."""
    signature = row["signature"]
    if not isinstance(signature, str) or not re.fullmatch("[0-9a-f]{16}", signature):
        return f"signature={shortened(signature)}: expected 16 hexadecimal digits; this run is left out"
    try:
        for key, value in row.items():
            kind = _kind(key)
            if value is None or kind is None or (type(value) is kind and (kind is not float or math.isfinite(value))):
                continue  # as most are, in ten thousand runs
            typed(value, kind, key)
    except UserError as error:
        return f"run {signature}: {error}; it is left out"
    return None


@cache
def _kind(key: str) -> Any:
    """What stands in a column that is computed with; None for others, which are only shown."""
    part, _, name = key.partition(".")
    if part in ("metrics", "timing"):
        return float
    return _PARTS.get(part, {}).get(name) or _KINDS.get(key)
