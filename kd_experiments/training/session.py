"""A training in a folder of its own, which goes on after the last finished epoch when it was stopped."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from pathlib import Path

from kd_experiments import files, stopping
from kd_experiments.training import devices, parallel
from kd_experiments.training.loop import Training

Row = dict[str, float]


def train_in(
    folder: Path,
    training: Training,
    *,
    evaluate: Callable[[], Row],
    snapshots_after: Collection[int],
    on_restored: Callable[[list[Row]], None],
    on_epoch: Callable[[Row], None],
) -> None:
    """Train the epochs that are left; `evaluate` adds figures to an epoch's row of the history.

    The checkpoint, which holds the history, is the one commit point of an epoch. A snapshot is written before it, so
    that none is missing afterwards; whatever is derived from the history is made in `on_restored` and `on_epoch`, so
    that a stop between the two is made good at the next start. `snapshots_after` counts epochs from 1.
    """
    checkpoint = folder / "checkpoint.pt"
    if _restored(training, checkpoint):
        on_restored(training.history)
    network = training.learners[0].result

    def after_epoch(row: Row) -> None:
        if training.epoch in snapshots_after:
            shot = {"model": network.state_dict(), "lr": row["lr"], "epoch": training.epoch}
            files.save(folder / f"snapshot-{training.epoch:04d}.pt", shot)
        files.save(checkpoint, training.state())
        on_epoch(row)
        stopping.stop_if_asked()

    try:
        with stopping.between_steps():
            training.run(evaluate, after_epoch)
    except stopping.Stopped:
        if parallel.processes() == 1:  # in the middle of an epoch; several processes have finished different steps
            files.save(checkpoint, training.state())
        raise
    except RuntimeError:
        if parallel.processes() > 1:  # another one has stopped first, and this one waited for what it would have sent
            stopping.stop_if_asked()
        raise


def _restored(training: Training, checkpoint: Path) -> bool:
    """Go on from a checkpoint, where there is one that fits; one of another version is told as damaged."""
    saved = files.load_own(checkpoint)
    if saved is None:
        return False
    fresh = copy.deepcopy(training.state())
    try:
        training.restore(saved)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if devices.is_out_of_memory(error):
            raise
        training.restore(fresh)
        files.damaged(checkpoint)
        return False
    return True
