"""How much of each run the page holds, so that ten thousand runs still make a page that can be sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    epochs: int  # rows of a history
    log: int  # characters of a log
    failed_log: int  # characters of a failed run's log, the one somebody will read


def limits(runs: int) -> Limits:
    """Everything where runs are few; about 25 epochs and 2,000 characters a run where they are 10,000."""
    runs = max(runs, 1)
    log = _between(1_000, 20_000_000 // runs, 100_000)
    return Limits(epochs=_between(16, 250_000 // runs, 400), log=log, failed_log=max(log, 8_000))


def _between(low: int, value: int, high: int) -> int:
    return min(max(low, value), high)
