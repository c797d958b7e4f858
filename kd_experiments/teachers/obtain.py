"""Get the teacher of a run: read what is known of it, or train it once, however many runs ask at the same time."""

from __future__ import annotations

import json
import time
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from kd_experiments.config import Config, digest
from kd_experiments.data.dataset import Data
from kd_experiments.distillers.none import NoDistiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, build
from kd_experiments.randomness import derive
from kd_experiments.supervision.influence import Evidence
from kd_experiments.supervision.label_loss import CrossEntropy
from kd_experiments.supervision.objective import Objective
from kd_experiments.supervision.revision import NoRevision, wrong_rows
from kd_experiments.supervision.selection import Snapshot, TeacherFacts, scoring_key
from kd_experiments.supervision.temperature import Constant as ConstantTemperature
from kd_experiments.supervision.weighting import Constant as ConstantWeighting
from kd_experiments.teachers.checkpoint_file import (
    compare_accuracy,
    given_state,
    load_into,
    read_state,
    stated_accuracy,
)
from kd_experiments.teachers.frozen import LiveTeacher, TabulatedTeacher
from kd_experiments.teachers.view_table import ViewTable
from kd_experiments.tracking.environment import environment
from kd_experiments.tracking.progress import Display
from kd_experiments.training import files
from kd_experiments.training.evaluation import metrics, outputs
from kd_experiments.training.loop import Learner, Source, Training

SCHEMA = 1
LARGEST_TABLE = 16 * 2**30  # bytes on disk; beyond it the teacher runs live


class Teacher:
    """A trained teacher: its facts, kept in its folder, and its network, loaded only when somebody needs it."""

    def __init__(self, config: Config, data: Data, folder: Path, display: Display) -> None:
        self.config = config
        self.data = data
        self.folder = folder
        self.signature = folder.name
        with _lock(folder):
            if not _complete(folder):
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
    def said(self) -> dict[str, Tensor]:
        """On un-augmented images: logits of `val` and `test`, (N, C), and which of `train` are wrong, (N,) bool."""
        kept = np.load(self.folder / "outputs.npz")
        return {name: torch.from_numpy(kept[name]).to(self.data.device) for name in ("val", "test", "train_wrong")}

    def source(self, needs_features: bool) -> Source:
        """The teacher as a source of supervision: from its view table, unless features are needed or views have no
        number.
        """
        data, views = self.data, self.data.views
        if needs_features or views is None or len(data.train) * views.count * data.classes * 4 > LARGEST_TABLE:
            return LiveTeacher(self.network, data)
        name = f"views-pad{views.padding}-{'flip' if views.flip else 'noflip'}.f32"
        with _lock(self.folder):  # so that two processes do not create one table at the same time
            table = ViewTable(self.folder / name, len(data.train), views.count, data.classes)
        return TabulatedTeacher(lambda: self.network, table, data)

    def selection_scores(self) -> Tensor:
        """Scores of the run's selection strategy, (N,) float64; kept in the teacher's folder."""
        selection = self.config.selection
        path = self.folder / f"scores-{digest({'strategy': scoring_key(selection)})}.npz"
        with _lock(self.folder):
            if path.exists():
                return torch.from_numpy(np.load(path)["scores"])
            scores = selection.scores(self._evidence()).cpu()
            with files.told_plainly(path):
                temporary = path.with_suffix(".part.npz")
                np.savez(temporary, scores=scores.numpy(), strategy=scoring_key(selection))
                temporary.replace(path)
        return scores

    def _evidence(self) -> TeacherFacts:
        data = self.data

        def snapshots() -> list[Snapshot]:
            return load_snapshots(self.config, data, self.folder)

        return TeacherFacts(outputs(self.network, data, data.train), outputs(self.network, data, data.val), snapshots)


def _for_scoring(evidence: Evidence) -> Evidence:
    """Scores are computed in float64, which Apple's GPUs do not have: there the CPU computes them."""
    if evidence.logits.device.type != "mps":
        return evidence
    return Evidence(evidence.logits.cpu(), evidence.embedding.cpu(), evidence.labels.cpu())


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
    """What the teacher said at points of its training, oldest first."""
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
    training = Training([Learner.make("teacher", network, label_objective(config), recipe)], data, recipe, seed)
    checkpoint = folder / "checkpoint.pt"
    saved = files.load_own(checkpoint)
    if saved is not None:
        training.restore(saved)
    parts = config.teacher.snapshots + 1
    keep_at = {round(i * recipe.epochs / parts) for i in range(1, parts)}

    def evaluate() -> dict[str, float]:
        said = outputs(network, data, data.val)
        return {f"val_{name}": value for name, value in metrics(said.logits, said.labels).items()}

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
    network = load_network(config, data, folder)
    said = {split: outputs(network, data, getattr(data, split)) for split in ("train", "val", "test")}
    wrong = wrong_rows(said["train"].logits, data.train.labels)
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
    for split, evidence in said.items():
        for name, value in metrics(evidence.logits, evidence.labels).items():
            facts[f"{split}_{name}"] = value
    history = folder / "history.json"
    facts["train_seconds"] = json.loads(history.read_text())["seconds"] if history.exists() else None
    facts["environment"] = environment(data.device)
    facts["config"] = config.teacher_matters()
    with files.told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / ".outputs.part.npz"
        logits = {split: said[split].logits.cpu().numpy() for split in ("val", "test")}
        np.savez(temporary, train_wrong=wrong.cpu().numpy(), **logits)  # type: ignore[arg-type]
        temporary.replace(folder / "outputs.npz")
    files.write_json(folder / "record.json", facts)


def _complete(folder: Path) -> bool:
    return (folder / "record.json").exists() and (folder / "outputs.npz").exists()


def _lock(folder: Path) -> FileLock:
    with files.told_plainly(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / ".lock")
