"""The story of one run, top to bottom."""

from __future__ import annotations

import datetime
import resource
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kd_experiments import files
from kd_experiments.config import Config
from kd_experiments.data.dataset import Data
from kd_experiments.data.load import load
from kd_experiments.distillers.base import Distiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network
from kd_experiments.randomness import derive
from kd_experiments.teachers.obtain import Teacher, fresh_network, obtain
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.machine import environment
from kd_experiments.tracking.record import SCHEMA, RunFolder
from kd_experiments.tracking.summary import summary_lines
from kd_experiments.tracking.wandb_run import Tracker
from kd_experiments.training import capture, devices, parallel
from kd_experiments.training.evaluation import metrics, noise_metrics, outputs
from kd_experiments.training.loop import Learner, Training
from kd_experiments.training.objective import Objective

Record = dict[str, Any]


def run(config: Config, display: Display | None = None, number: int = 0) -> Record:
    """Do one run, or return its record if it is done already; raises `UserError` for a mistake of the user.

    `number` counts the jobs of a sweep: where there are several GPUs they take turns.
    """
    parallel.start(config.device)
    display = display or Display()
    signature = config.signature()
    folder = RunFolder(config.results / "runs" / signature)
    with folder.lock():
        record = folder.read()
        if record is not None and record["status"] == "complete" and not config.rerun:
            display.note(f"already done: {folder.record_file} (rerun=true repeats it)")
        else:
            record = _do(config, signature, folder, display, number)
    for line in summary_lines(record, folder.record_file):
        display.note(line)
    return record


def _do(config: Config, signature: str, folder: RunFolder, display: Display, number: int) -> Record:
    """Train, measure and write everything down, whatever happens."""
    parallel.wait()  # until every process has read the record
    if config.rerun:
        folder.forget()
    device = devices.pick(config.device, number)
    devices.make_deterministic(device, config.threads, config.precision)
    record: Record = {
        "schema": SCHEMA,
        "signature": signature,
        "status": "running",
        "started": _now(),
        "seed": config.seed,
        "config": config.given,
        "teacher": None,
        "metrics": {},
        "timing": {},
        "environment": environment(device),
        "error": None,
    }
    folder.write_config(config.given)
    folder.write(record)
    tracker = Tracker(config, signature, display.note)
    started = time.perf_counter()
    try:
        _story(config, device, folder, record, tracker, display)
        record |= {"status": "complete", "finished": _now()}
    except BaseException as error:
        display.stop()
        reason = str(error) if isinstance(error, UserError) else traceback.format_exc()
        record |= {"status": "failed", "finished": _now(), "error": reason}
        display.lines.append(reason)
        raise
    finally:
        record["timing"]["this_call_seconds"] = time.perf_counter() - started
        try:
            folder.write(record)
            folder.append_log(display.lines)
        except UserError:
            if record["status"] == "complete":  # otherwise the first error is the one to tell
                raise
        finally:
            tracker.finish(record)
    return record


def _story(
    config: Config,
    device: torch.device,
    folder: RunFolder,
    record: Record,
    tracker: Tracker,
    display: Display,
) -> None:
    """Data, teacher, selection, training, evaluation: fills `record` in place."""
    data = load(config.dataset, config.label_noise, config.data_folder).to(device)
    record["data"] = _data_facts(data)
    _keep_noisy_labels(data, folder)
    teacher = obtain(config, data, display) if config.source == "teacher" else None
    selected = _select(config, data, teacher, record, folder)
    if teacher is not None:
        record["teacher"] = {
            name: value for name, value in teacher.facts.items() if name not in ("environment", "config")
        }
        record["revision"] = _revision_facts(config, teacher, selected)

    learners = make_learners(config, data, teacher)
    source = None if teacher is None else teacher.source(learners[0].objective.distiller.needs_features)
    recorder = capture.recorder(device, config.capture)
    training = Training(learners, data, config.recipe, config.seed, source, selected, recorder)
    saved = files.load_own(folder.checkpoint)
    if saved is not None:
        training.restore(saved)
        for row in training.history:
            tracker.log(row)

    keep_at = snapshot_epochs(config.snapshots, training.recipe.epochs)

    def after_epoch(row: dict[str, float]) -> None:
        if training.epoch in keep_at:
            shot = {"model": learners[0].network.state_dict(), "epoch": training.epoch}
            files.save(folder.path / f"snapshot-{training.epoch:04d}.pt", shot)
        files.save(folder.checkpoint, training.state())
        folder.write_history(training.history)
        tracker.log(row)
        display.epoch(row)

    display.start(f"{config.method.name} {config.student.network}", training.recipe.epochs, training.epoch)
    training.run(lambda: _evaluate(training, data, teacher), after_epoch)
    display.stop()

    record["student"] = {
        "network": config.student.network,
        "parameters": sum(parameter.numel() for parameter in learners[0].network.parameters()),
    }
    train = outputs(learners[0].network, data, data.train)
    fit = {f"train_{name}": value for name, value in metrics(train.logits, train.labels).items()}
    record["metrics"] = final_figures(training.history, fit)
    record["timing"] |= _timing(training)
    files.save(
        folder.path / "student.pt",
        {
            "model": learners[0].network.state_dict(),
            "epoch": training.epoch,
            "network": config.student.network,
        },
    )


def snapshot_epochs(count: int, epochs: int) -> set[int]:
    """Epochs (from 1) after which a snapshot is kept: `count` of them, evenly from the first to before the last."""
    return {round(1 + i * (epochs - 1) / count) for i in range(count)}


def make_learners(config: Config, data: Data, teacher: Teacher | None) -> list[Learner]:
    """The student, and for mutual learning its peer; initial weights depend on the seed and the place alone."""
    names = {"student": config.student.network}
    if config.source == "peer":
        names["peer"] = config.peer.network
    networks = {place: fresh_network(name, data, config.seed, place) for place, name in names.items()}
    learners = []
    for place, network in networks.items():
        objective = _make_objective(config)
        torch.manual_seed(derive(config.seed, "distiller", place))
        objective.distiller.inspect_labels(data.train.labels, data.classes)
        if objective.distiller.needs_features:
            peers = [other for name, other in networks.items() if name != place]
            _fit_together(objective.distiller, network, peers[0] if teacher is None else teacher.network, data)
        learners.append(Learner.make(place, network, objective.to(data.device), config.recipe))
    return learners


def _fit_together(distiller: Distiller, student: Network, source: Network, data: Data) -> None:
    """Let a distiller make the parts that depend on both networks, without moving any BN statistics."""
    distiller.inspect_networks(student, source)
    images = next(data.evaluation_batches(data.train.at(torch.arange(2, device=data.device)), 2))
    with torch.no_grad():
        distiller.build_modules(student.eval()(images), source.eval()(images))


def _make_objective(config: Config) -> Objective:
    return Objective(
        label_loss=config.label_loss,
        distiller=config.make_distiller(),
        revision=config.revision,
        weighting=config.weighting,
        temperature=config.distillation_temperature,
        label_weight=config.method.label_weight,
        label_rows=config.method.label_rows,
        weight=config.method.weight,
        kd_weight=config.method.kd_weight,
        standardise=config.method.standardise,
        warm_up_epochs=config.method.warm_up_epochs,
    )


def _select(config: Config, data: Data, teacher: Teacher | None, record: Record, folder: RunFolder) -> Tensor | None:
    """Which samples the source may teach, (N,) 0/1 float on the device; None for everyone. Kept as selected.csv."""
    if config.selection.is_none:
        return None
    ties = torch.zeros(len(data.train), dtype=torch.float64)  # without a teacher: the seeded order of ties decides
    scores = ties if teacher is None else teacher.selection_scores()
    mask = config.selection.mask(scores)
    record["selection"] = {
        "strategy": config.given["selection"]["name"],
        "selected": int(mask.sum()),
        "of": len(mask),
        "share": int(mask.sum()) / len(mask),
    }
    chosen = data.train.origin[mask].tolist()
    files.write_text(folder.path / "selected.csv", "\n".join(["training_image", *map(str, chosen)]) + "\n")
    return mask.to(device=data.device, dtype=torch.float32)


def _revision_facts(config: Config, teacher: Teacher, selected: Tensor | None) -> dict[str, Any]:
    """How many training images the teacher gets wrong without augmentation, and how many of them are revised."""
    wrong = teacher.outputs["train_wrong"]
    taught = wrong if selected is None else wrong & (selected > 0)
    revises = not config.revision.is_none
    return {
        "name": config.given["revision"]["name"],
        "wrong": int(wrong.sum()),
        "wrong_and_selected": int(taught.sum()),
        "revised": int(taught.sum()) if revises else 0,
    }


def _evaluate(training: Training, data: Data, teacher: Teacher | None) -> dict[str, float]:
    """Figures of every learner on val and test, and its fit of noisy labels."""
    row: dict[str, float] = {}
    for place, learner in enumerate(training.learners):
        prefix = "" if place == 0 else f"{learner.name}_"
        for split in ("val", "test"):
            predicted = outputs(learner.network, data, getattr(data, split))
            reference = None if teacher is None else teacher.outputs[split]
            for name, value in metrics(predicted.logits, predicted.labels, reference).items():
                row[f"{prefix}{split}_{name}"] = value
        if data.train.true_labels is not data.train.labels:
            predicted = outputs(learner.network, data, data.train)
            for name, value in noise_metrics(predicted.logits, data.train.labels, data.train.true_labels).items():
                row[f"{prefix}{name}"] = value
    if len(training.learners) == 2:
        for split in ("val", "test"):
            row[f"mean_{split}_top1"] = (row[f"{split}_top1"] + row[f"peer_{split}_top1"]) / 2
    return row


def final_figures(history: list[dict[str, float]], fit: Mapping[str, float]) -> dict[str, float]:
    """The record's flat metrics from the history; `fit` are the student's figures on the training images.

    `*_last` is the primary figure. `test_top1_best_val` is measured at the epoch that is best on val;
    `test_top1_best_test` at the best test epoch, which is optimistic and only there to be compared with papers.
    """
    evaluated = [row for row in history if "test_top1" in row]
    last = evaluated[-1]
    skipped = {"epoch", "lr", "train_seconds", "images_per_second"}
    figures = {f"{name}_last": value for name, value in last.items() if name not in skipped}
    figures |= {f"{name}_last": value for name, value in fit.items()}
    by_val = max(evaluated, key=lambda row: row["val_top1"])
    figures |= {
        "test_top1_best_val": by_val["test_top1"],
        "best_val_epoch": by_val["epoch"] + 1,
        "test_top1_best_test": max(row["test_top1"] for row in evaluated),
    }
    return figures


def _timing(training: Training) -> dict[str, float]:
    seconds = sum(row["train_seconds"] for row in training.history)
    shown = sum(row["images_per_second"] * row["train_seconds"] for row in training.history)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    timing = {
        "train_seconds": seconds,
        "images_per_second": shown / seconds,
        "peak_memory_bytes": float(peak),
    }
    if training.data.device.type == "cuda":
        timing["peak_device_memory_bytes"] = float(torch.cuda.max_memory_allocated())
    return timing


def _data_facts(data: Data) -> dict[str, Any]:
    flipped = int((data.train.labels != data.train.true_labels).sum())
    return {
        "train": len(data.train),
        "val": len(data.val),
        "test": len(data.test),
        "classes": data.classes,
        "noisy_labels": flipped,
        "noise_share": flipped / len(data.train),
    }


def _keep_noisy_labels(data: Data, folder: RunFolder) -> None:
    """Write down which labels were flipped, and from what to what."""
    flipped = (data.train.labels != data.train.true_labels).nonzero().flatten().cpu()
    if not len(flipped):
        return
    columns = (data.train.origin, data.train.true_labels.cpu(), data.train.labels.cpu())
    rows = zip(*(column[flipped].tolist() for column in columns), strict=True)
    text = "training_image,true_label,given_label\n" + "".join(f"{i},{true},{given}\n" for i, true, given in rows)
    files.write_text(folder.path / "noisy_labels.csv", text)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
