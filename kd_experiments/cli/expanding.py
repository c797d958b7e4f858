"""The runs of a multirun, from its overrides: how many, and which."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kd_experiments.errors import UserError

MOST_RUNS = 100_000  # of one sweep


def laid_over(swept: Sequence[str], typed: Sequence[str]) -> list[str]:
    """The overrides of a file with what is typed besides: the file's keys in its order, then all others."""
    given = {text.partition("=")[0]: text for text in typed}
    own = [text.partition("=")[0] for text in swept]
    replaced = [given.get(key, text) for key, text in zip(own, swept, strict=True)]
    return [*replaced, *(text for text in typed if text.partition("=")[0] not in own)]


def expand(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of every job, as Hydra's own sweeper makes them: the product of all values."""
    from kd_experiments import private  # Hydra takes a while to import

    refuse_many(overrides)
    return private.product(overrides)


def refuse_many(overrides: Sequence[str]) -> None:
    """`UserError` for more runs than anybody means: a slip such as `seed=range(0,1e12)` would fill the memory."""
    from kd_experiments import private

    count = private.job_count(overrides)
    if not count <= MOST_RUNS:
        told = f"of {count:,.0f} runs" if math.isfinite(count) else "without end"
        raise UserError(f"a sweep {told}: at most {MOST_RUNS:,} runs at once; sweep fewer values")
