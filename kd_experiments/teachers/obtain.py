"""Get the teacher of a run: read what is known of it, or train it once, however many runs ask at the same time."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from kd_experiments import files
from kd_experiments.config import Config, digest
from kd_experiments.data.dataset import Data
from kd_experiments.distillers.none import NoDistiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, build
from kd_experiments.randomness import derive
from kd_experiments.supervision.influence import SplitOutputs
from kd_experiments.supervision.label_loss import CrossEntropy
from kd_experiments.supervision.revision import NoRevision, wrong_rows
from kd_experiments.supervision.selection import SelectionInputs, Snapshot, scoring_key
from kd_experiments.supervision.temperature import ConstantTemperature
from kd_experiments.supervision.weighting import ConstantWeighting
from kd_experiments.teachers.checkpoint_file import (
    compare_accuracy,
    given_state,
    load_into,
    read_state,
    stated_accuracy,
)
from kd_experiments.teachers.frozen import LiveTeacher, TabulatedTeacher
from kd_experiments.teachers.view_table import DiskTable, MemoryTable, NoTable, TableKind, ViewTable
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.machine import environment
from kd_experiments.training import capture, parallel
from kd_experiments.training.evaluation import metrics, outputs
from kd_experiments.training.loop import Learner, Source, Training
from kd_experiments.training.objective import Objective

SCHEMA = 1


class Teacher:
    """A trained teacher: its facts, kept in its folder, and its network, loaded only when somebody needs it."""

    def __init__(self, config: Config, data: Data, folder: Path, display: Display) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.display = display
        self.signature = folder.name
        with _lock(folder):
            if not parallel.agreed(_complete(folder)):
                if config.teacher.checkpoint is None:
                    _train(config, data, folder, display)
                _measure(config, data, folder)
        self.facts: dict[str, Any] = json.loads((folder / "record.json").read_text())
        given, stated = config.teacher.checkpoint, self.facts.get("stated_accuracy")
        if given is not None and stated is not None:
            display.note(compare_accuracy(given, stated, self.facts["test_top1"]))

    @cached_property
    def network(self) -> Network:
        """The frozen network, on the data's device, in eval mode."""
        return load_network(self.config, self.data, self.folder)

    @cached_property
    def outputs(self) -> dict[str, Tensor]:
        """On un-augmented images: logits of `val` and `test`, (N, C), and which of `train` are wrong, (N,) bool."""
        kept = np.load(self.folder / "outputs.npz")
        return {name: torch.from_numpy(kept[name]).to(self.data.device) for name in ("val", "test", "train_wrong")}

    def source(self, needs_features: bool) -> Source:
        """The teacher as a source of supervision: through its view table, unless features are needed or views have no
        number.
        """
        if needs_features or self.data.views is None:
            return LiveTeacher(self.network, self.data)
        return self.tabulated()

    def tabulated(self, keep: bool = False) -> TabulatedTeacher:
        """The teacher behind its view table; with `keep`, `auto` must find a place on disk."""
        return TabulatedTeacher(lambda: self.network, self._table(keep), self.data)

    def _table(self, keep: bool) -> ViewTable:
        """A table where `teacher.table` wants it; `UserError` if it is too large for an explicit wish."""
        wish, data = self.config.teacher, self.data
        place = "disk" if keep and wish.table == "auto" else wish.table
        kind = self._table_kind()
        if place == "off":
            return NoTable(kind, data.device)
        gibibytes = kind.size / 2**30
        if gibibytes > wish.table_budget:
            smaller = "" if wish.table_dtype == "float16" else ", teacher.table_dtype=float16"
            too_large = (
                f"the teacher's view table of {kind.rows:,} views takes {gibibytes:.1f} GiB, over "
                f"teacher.table_budget={wish.table_budget:g}"
            )
            if place != "auto":
                raise UserError(
                    f"teacher.table={place}: {too_large}; give teacher.table_budget={math.ceil(gibibytes)}"
                    f"{smaller}, or teacher.table=off"
                )
            self.display.note(f"{too_large}: the teacher labels every epoch anew (a larger budget{smaller} helps)")
            return NoTable(kind, data.device)
        path = self.folder / f"views-{kind.view_names}.{kind.dtype}"
        if place == "memory":
            start = DiskTable(path, kind, data.device) if path.exists() else None
            with _enough_memory(gibibytes):
                return MemoryTable(kind, data.device, start)
        free = shutil.disk_usage(self.folder).free / 2**30
        if not path.exists() and free < gibibytes:
            too_large = f"the teacher's view table takes {gibibytes:.1f} GiB, and {self.folder} has {free:.1f} GiB left"
            if place == "disk":
                raise UserError(f"teacher.table=disk: {too_large}; free some space, or give teacher.table=off")
            self.display.note(f"{too_large}: the teacher labels every epoch anew")
            return NoTable(kind, data.device)
        # Two processes must not create one table at the same time.
        with _lock(self.folder), parallel.main_first():
            return DiskTable(path, kind, data.device)

    def _table_kind(self) -> TableKind:
        data = self.data
        assert data.views is not None
        weights = {name: self.facts[name] for name in ("signature", "train_nll", "val_nll", "test_nll")}
        return TableKind(
            teacher=digest(weights),
            samples=len(data.train),
            views=data.views.count,
            view_names=f"pad{data.views.padding}-{'flip' if data.views.flip else 'noflip'}",
            classes=data.classes,
            dtype=self.config.teacher.table_dtype,
        )

    def selection_scores(self) -> Tensor:
        """Scores of the run's selection strategy, (N,) float64; kept in the teacher's folder."""
        selection = self.config.selection
        path = self.folder / f"scores-{digest({'strategy': scoring_key(selection)})}.npz"
        with _lock(self.folder):
            if parallel.agreed(path.exists()):
                return torch.from_numpy(np.load(path)["scores"])
            scores = selection.scores(self._evidence()).cpu()
            if not parallel.is_main():
                return scores
            with files.told_plainly(path):
                temporary = path.with_suffix(".part.npz")
                np.savez(temporary, scores=scores.numpy(), strategy=scoring_key(selection))
                temporary.replace(path)
        return scores

    def _evidence(self) -> SelectionInputs:
        data = self.data

        def snapshots() -> list[Snapshot]:
            return load_snapshots(self.config, data, self.folder)

        return SelectionInputs(
            outputs(self.network, data, data.train), outputs(self.network, data, data.val), snapshots
        )


@contextlib.contextmanager
def _enough_memory(gibibytes: float) -> Iterator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        raise UserError(
            f"teacher.table=memory: the view table takes {gibibytes:.1f} GiB, more than there is; give "
            f"teacher.table=disk or teacher.table_dtype=float16"
        ) from error


def _for_scoring(evidence: SplitOutputs) -> SplitOutputs:
    """Scores are computed in float64, which Apple's GPUs do not have: there the CPU computes them."""
    if evidence.logits.device.type != "mps":
        return evidence
    return SplitOutputs(evidence.logits.cpu(), evidence.embedding.cpu(), evidence.labels.cpu())


def obtain(config: Config, data: Data, display: Display) -> Teacher:
    """The teacher of a run; trains it with its own recipe if this is the first time it is needed."""
    return Teacher(config, data, Path(config.paths.teachers) / config.teacher_signature(), display)


def fresh_network(name: str, data: Data, seed: int, purpose: str) -> Network:
    """A network with initial weights that depend on seed and purpose alone, on the data's device."""
    torch.manual_seed(derive(seed, "initial weights", purpose))
    network = build(name, classes=data.classes, channels=data.channels, size=data.size)
    return on_device(network, data)


def on_device(network: Network, data: Data) -> Network:
    """Move a network to the data's device, its convolutions channels last."""
    return network.to(data.device).to(memory_format=torch.channels_last)


def load_network(config: Config, data: Data, folder: Path) -> Network:
    """The finished teacher from its checkpoint, or from our own file."""
    given, name = config.teacher.checkpoint, config.teacher.network
    path = Path(given) if given is not None else folder / "teacher.pt"
    state = given_state(given, name, config.data_folder) if given is not None else read_state(path)
    network = build(name, classes=data.classes, channels=data.channels, size=data.size)
    load_into(network, state, name, path)
    return on_device(network, data).eval().requires_grad_(False)


def load_snapshots(config: Config, data: Data, folder: Path) -> list[Snapshot]:
    """The teacher's outputs at points of its training, oldest first."""
    shots = []
    for path in sorted(folder.glob("snapshot-*.pt")):
        kept = files.load_own(path)
        if kept is None:
            continue
        network = build(config.teacher.network, classes=data.classes, channels=data.channels, size=data.size)
        network.load_state_dict(kept["model"])
        on_device(network, data)
        train, val = (_for_scoring(outputs(network, data, split)) for split in (data.train, data.val))
        shots.append(Snapshot(train, val, kept["lr"]))
    if not shots:
        raise UserError(
            f"selection=tracin: the teacher in {folder} has no snapshots of its training; use a teacher trained "
            f"here with teacher.snapshots=5 (and another teacher.seed), or selection=influence"
        )
    return shots


def label_objective(config: Config) -> Objective:
    """Plain supervised training with cross-entropy: how teachers are trained."""
    return Objective(
        label_loss=CrossEntropy(),
        distiller=NoDistiller(),
        revision=NoRevision(),
        weighting=ConstantWeighting(),
        temperature=ConstantTemperature(1.0),
        label_weight=1.0,
        label_rows="all",
        weight=0.0,
    )


def _train(config: Config, data: Data, folder: Path, display: Display) -> None:
    """Train the teacher, resuming an interrupted training; leaves `teacher.pt` and snapshots."""
    recipe, seed = config.teacher.recipe.for_samples(len(data.train)), config.teacher.seed
    network = fresh_network(config.teacher.network, data, seed, "teacher")
    learner = Learner.make("teacher", network, label_objective(config), recipe)
    recorder = capture.recorder(data.device, config.capture)
    training = Training([learner], data, recipe, seed, recorder=recorder)
    checkpoint = folder / "checkpoint.pt"
    saved = files.load_own(checkpoint)
    if saved is not None:
        training.restore(saved)
    parts = config.teacher.snapshots + 1
    keep_at = {round(i * recipe.epochs / parts) for i in range(1, parts)}

    def evaluate() -> dict[str, float]:
        predicted = outputs(network, data, data.val)
        return {f"val_{name}": value for name, value in metrics(predicted.logits, predicted.labels).items()}

    def after_epoch(row: dict[str, float]) -> None:
        files.save(checkpoint, training.state())
        if training.epoch in keep_at:
            shot = {"model": network.state_dict(), "lr": row["lr"], "epoch": training.epoch}
            files.save(folder / f"snapshot-{training.epoch:04d}.pt", shot)
        display.epoch(row)

    display.start(f"teacher {config.teacher.network}", recipe.epochs, training.epoch)
    started = time.perf_counter()
    training.run(evaluate, after_epoch)
    display.stop()
    seconds = sum(row["train_seconds"] for row in training.history)
    files.write_json(folder / "history.json", {"history": training.history, "seconds": seconds})
    files.save(
        folder / "teacher.pt",
        {"model": network.state_dict(), "epoch": recipe.epochs, "network": config.teacher.network},
    )
    checkpoint.unlink(missing_ok=True)
    display.note(f"teacher trained in {time.perf_counter() - started:.1f} s, kept in {folder}")


def _measure(config: Config, data: Data, folder: Path) -> None:
    """Measure a new teacher once on train, val and test, and write its record."""
    parallel.wait()  # the main process has written the weights
    network = load_network(config, data, folder)
    predicted = {split: outputs(network, data, getattr(data, split)) for split in ("train", "val", "test")}
    wrong = wrong_rows(predicted["train"].logits, data.train.labels)
    given = config.teacher.checkpoint
    facts: dict[str, Any] = {
        "schema": SCHEMA,
        "signature": folder.name,
        "status": "complete",
        "network": config.teacher.network,
        "checkpoint": given,
        "stated_accuracy": None if given is None else stated_accuracy(given, config.teacher.network),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "train_size": len(data.train),
        "train_wrong": int(wrong.sum()),
    }
    for split, evidence in predicted.items():
        for name, value in metrics(evidence.logits, evidence.labels).items():
            facts[f"{split}_{name}"] = value
    history = folder / "history.json"
    facts["train_seconds"] = json.loads(history.read_text())["seconds"] if history.exists() else None
    facts["environment"] = environment(data.device)
    facts["config"] = config.teacher_matters()
    with files.told_plainly(folder), parallel.main_first():
        if parallel.is_main():
            temporary = folder / ".outputs.part.npz"
            logits = {split: predicted[split].logits.cpu().numpy() for split in ("val", "test")}
            np.savez(temporary, train_wrong=wrong.cpu().numpy(), **logits)  # type: ignore[arg-type]  # arrays by name
            temporary.replace(folder / "outputs.npz")
            files.write_json(folder / "record.json", facts)


def _complete(folder: Path) -> bool:
    return (folder / "record.json").exists() and (folder / "outputs.npz").exists()


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One run at a time; of the processes of one run the main one holds the lock for all."""
    if not parallel.is_main():
        parallel.wait()
        yield
        return
    with files.told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire()
    with lock:
        parallel.wait()
        yield
