"""A teacher's network: trained with its own recipe, or loaded from a file, and measured once."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from kd_experiments import files
from kd_experiments.data.dataset import Data
from kd_experiments.distillers.none import NoDistiller
from kd_experiments.errors import UserError
from kd_experiments.networks import Network, build
from kd_experiments.networks.renormalised import Renormalised
from kd_experiments.randomness import derive
from kd_experiments.supervision.label_loss import CrossEntropy
from kd_experiments.supervision.revision import NoRevision, wrong_rows
from kd_experiments.supervision.temperature import ConstantTemperature
from kd_experiments.supervision.weighting import ConstantWeighting
from kd_experiments.teachers.checkpoint_file import given_state, load_into, read_state, stated_accuracy
from kd_experiments.teachers.settings import TeacherConfig
from kd_experiments.tracking.display import Display
from kd_experiments.tracking.machine import machine
from kd_experiments.tracking.record import SCHEMA, TeacherFacts, TeacherRecord
from kd_experiments.training import capture, figures_of_merit, parallel
from kd_experiments.training.evaluation import metrics, outputs
from kd_experiments.training.loop import Learner, Training
from kd_experiments.training.objective import Objective
from kd_experiments.training.session import Row, train_in


def fresh_network(name: str, data: Data, seed: int, purpose: str) -> Network:
    """A network with initial weights that depend on seed and purpose alone, on the data's device."""
    torch.manual_seed(derive(seed, "initial weights", purpose))
    network = build(name, classes=data.classes, channels=data.channels, size=data.size)
    return on_device(network, data)


def on_device(network: Network, data: Data) -> Network:
    """Move a network to the data's device, its convolutions channels last."""
    return network.to(data.device).to(memory_format=torch.channels_last)


def load_network(settings: TeacherConfig, data: Data, folder: Path, downloads: Path) -> Network:
    """The finished teacher from its checkpoint, or from our own file."""
    given, name = settings.checkpoint, settings.network
    path = Path(given) if given is not None else folder / "teacher.pt"
    state = given_state(given, name, downloads) if given is not None else read_state(path)
    network = _built(name, data)
    load_into(network, state, name, path)
    return on_device(_with_own_normalisation(network, settings, data), data).eval().requires_grad_(False)


def _with_own_normalisation(network: Network, settings: TeacherConfig, data: Data) -> Network:
    """The network as it takes images with the data set's mean and standard deviation."""
    if settings.mean is None or settings.std is None:
        return network
    for key, given in (("mean", settings.mean), ("std", settings.std)):
        if len(given) != data.channels:
            raise UserError(f"teacher.{key}: {data.name} has {data.channels} channel(s), give one number each")
    own = (torch.tensor(settings.mean), torch.tensor(settings.std))
    return Renormalised(network, data.mean.cpu(), data.std.cpu(), *own)


def load_snapshot_network(name: str, data: Data, state: Mapping[str, Any]) -> Network:
    """The teacher in the middle of its training."""
    network = _built(name, data)
    network.load_state_dict(state)
    return on_device(network, data)


def _built(name: str, data: Data) -> Network:
    """With weights that others take the place of. Some teachers are loaded in the middle of a training, when their
    answers or features are first asked for: nobody's random numbers depend on when.
    """
    with torch.random.fork_rng(devices=[]):  # networks are made on the CPU
        return build(name, classes=data.classes, channels=data.channels, size=data.size)


def label_objective() -> Objective:
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


def snapshot_epochs(settings: TeacherConfig, samples: int) -> set[int]:
    """Epochs (from 1) of the training on so many samples after which a snapshot is kept."""
    parts, epochs = settings.snapshots + 1, settings.recipe.for_samples(samples).epochs
    return {round(i * epochs / parts) for i in range(1, parts)} - {0}


def train(settings: TeacherConfig, data: Data, folder: Path, record_steps: bool, display: Display) -> None:
    """Train the teacher, resuming an interrupted training; leaves `teacher.pt`, `history.json` and snapshots."""
    recipe = settings.recipe.for_samples(len(data.train))
    network = fresh_network(settings.network, data, settings.seed, "teacher")
    learner = Learner.make("teacher", network, label_objective(), recipe)
    recorder = capture.recorder(data.device, "auto" if record_steps else "off")
    training = Training([learner], data, recipe, settings.seed, recorder=recorder)

    def evaluate() -> Row:
        predicted = outputs(learner.result, data, data.val)
        return {f"val_{name}": value for name, value in metrics(predicted.logits, predicted.labels).items()}

    def after_epoch(row: Row) -> None:
        display.epoch(row)
        if (said := figures_of_merit.explosion(training, "teacher.recipe")) is not None:
            display.note(said)

    started = time.perf_counter()
    title = f"teacher {settings.network}"
    display.start(title, recipe.epochs, 0)
    train_in(
        folder,
        training,
        evaluate=evaluate,
        snapshots_after=snapshot_epochs(settings, len(data.train)),
        on_restored=lambda history: display.start(title, recipe.epochs, len(history)),
        on_epoch=after_epoch,
    )
    display.stop()
    seconds = sum(row["train_seconds"] for row in training.history)
    files.write_json(folder / "history.json", {"history": training.history, "seconds": seconds})
    about = {"epoch": recipe.epochs, "network": settings.network, "images": data.kept_with_weights}
    files.save(folder / "teacher.pt", {"model": learner.result.state_dict(), **about})
    display.note(f"teacher trained in {time.perf_counter() - started:.1f} s, kept in {folder}")


def seen_val(settings: TeacherConfig) -> Literal["unknown", True, False]:
    """Was the teacher trained on the images that are held out as val? One trained here was not."""
    return False if settings.checkpoint is None else settings.seen_val


def measure(settings: TeacherConfig, data: Data, folder: Path, identity: Mapping[str, Any], downloads: Path) -> None:
    """Measure a new teacher once on train, val and test, and write its record."""
    parallel.wait()  # the main process has written the weights
    network = load_network(settings, data, folder, downloads)
    predicted = {split: outputs(network, data, getattr(data, split)) for split in ("train", "val", "test")}
    wrong = wrong_rows(predicted["train"].logits, data.train.labels)
    given = settings.checkpoint
    history = files.read_json(folder / "history.json") if given is None else None
    measured = {
        f"{split}_{name}": value
        for split, one in predicted.items()
        for name, value in metrics(one.logits, one.labels).items()
    }
    facts = TeacherFacts(
        signature=folder.name,
        network=settings.network,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        seed=settings.seed if given is None else None,
        checkpoint=given,
        seen_val=seen_val(settings),
        stated_accuracy=None if given is None else stated_accuracy(given, settings.network),
        train_size=len(data.train),
        train_wrong=int(wrong.sum()),
        train_seconds=None if history is None else history["seconds"],
        **measured,
    )
    with parallel.main_first():
        logits = {split: predicted[split].logits.cpu().numpy() for split in ("val", "test")}
        files.save_arrays(folder / "outputs.npz", train_wrong=wrong.cpu().numpy(), **logits)
        files.write_record(folder / "record.json", TeacherRecord(SCHEMA, facts, identity, machine(data.device)))
