"""What a training is worth: figures of every epoch, and the record's flat metrics from them."""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kd_experiments.data.dataset import Data
from kd_experiments.training.evaluation import metrics, noise_metrics, outputs
from kd_experiments.training.loop import Learner, Training

Row = dict[str, float]
_NOT_MERITS = {"epoch", "lr", "train_seconds", "images_per_second"}


def evaluate(learners: Sequence[Learner], data: Data, teacher: Mapping[str, Tensor] | None) -> Row:
    """Figures of every learner on val and test, and its fit of noisy labels; `teacher` holds logits of both splits."""
    row: Row = {}
    for place, learner in enumerate(learners):
        prefix = "" if place == 0 else f"{learner.name}_"
        for split in ("val", "test"):
            predicted = outputs(learner.result, data, getattr(data, split))
            reference = None if teacher is None else teacher[split]
            for name, value in metrics(predicted.logits, predicted.labels, reference).items():
                row[f"{prefix}{split}_{name}"] = value
        if data.train.true_labels is not data.train.labels:
            predicted = outputs(learner.result, data, data.train)
            for name, value in noise_metrics(predicted.logits, data.train.labels, data.train.true_labels).items():
                row[f"{prefix}{name}"] = value
    if len(learners) == 2:
        for split in ("val", "test"):
            row[f"mean_{split}_top1"] = (row[f"{split}_top1"] + row[f"peer_{split}_top1"]) / 2
    return row


def fit(learner: Learner, data: Data) -> Row:
    """The student's figures on the training images."""
    train = outputs(learner.result, data, data.train)
    return {f"train_{name}": value for name, value in metrics(train.logits, train.labels).items()}


def final_figures(history: Sequence[Row], fitted: Mapping[str, float]) -> Row:
    """The record's flat metrics from the history; `fitted` are the student's figures on the training images.

    `*_last` is the primary figure. `test_top1_best_val` is measured at the epoch that is best on val;
    `test_top1_best_test` at the best test epoch, which is optimistic and only there to be compared with papers;
    `exploded_epoch` is there only if the loss has exploded. Empty where no epoch was evaluated.
    """
    evaluated = [row for row in history if "test_top1" in row]
    if not evaluated:
        return {}
    figures = {f"{name}_last": value for name, value in evaluated[-1].items() if name not in _NOT_MERITS}
    figures |= {f"{name}_last": value for name, value in fitted.items()}
    by_val = max(evaluated, key=lambda row: row["val_top1"])
    exploded = exploded_epoch(history)
    figures |= {} if exploded is None else {"exploded_epoch": float(exploded)}
    return figures | {
        "test_top1_best_val": by_val["test_top1"],
        "best_val_epoch": by_val["epoch"] + 1,
        "test_top1_best_test": max(row["test_top1"] for row in evaluated),
    }


EXPLODED = 100.0  # nats of label loss, where chance has ln(classes); or times the smallest loss before


def exploded_epoch(history: Sequence[Row]) -> int | None:
    """The first epoch, from 1, whose loss has exploded but is a number still; None where none has."""
    for prefix in ("", "peer_"):
        smallest = float("inf")
        for row in history:
            if row["epoch"] < 0 or f"{prefix}loss" not in row:  # an initialisation has a loss of its own
                continue
            loss = row[f"{prefix}loss"]
            if row.get(f"{prefix}loss_label", 0.0) > EXPLODED or loss > EXPLODED * max(smallest, 1.0):
                return int(row["epoch"]) + 1
            smallest = min(smallest, loss)
    return None


def explosion(training: Training, key: str = "recipe") -> str | None:
    """One line, if the epoch just done is the first whose loss has exploded; `key` is where its recipe stands."""
    last = training.history[-1]
    if exploded_epoch(training.history) != last["epoch"] + 1:
        return None
    return (
        f"warning: the loss explodes, {last['loss']:.3g} in epoch {int(last['epoch']) + 1}; try a lower {key}.lr than "
        f"{training.recipe.lr:g}, or {key}.clip_norm=1"
    )


def timing(training: Training) -> Row:
    """Seconds of training, images a second, peak memory in bytes."""
    seconds = sum(row["train_seconds"] for row in training.history)
    shown = sum(row["images_per_second"] * row["train_seconds"] for row in training.history)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    figures = {
        "train_seconds": seconds,
        "images_per_second": shown / seconds if seconds else 0.0,
        "peak_memory_bytes": float(peak),
    }
    if training.data.device.type == "cuda":
        figures["peak_device_memory_bytes"] = float(torch.cuda.max_memory_allocated())
    return figures
