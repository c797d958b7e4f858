"""What is measured: random pixels in CIFAR-100's format, teachers with random weights, and real runs made of them.

Speed depends neither on the pixels nor on the weights. Everything goes through the suite's own reader, configuration,
teacher and training loop.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR100

from kd_experiments.cli import composing
from kd_experiments.config import Config, check
from kd_experiments.data.dataset import Data
from kd_experiments.data.load import load
from kd_experiments.networks import build
from kd_experiments.single_run import obtain_teacher
from kd_experiments.students.making import make_learners
from kd_experiments.teachers.obtain import Teacher
from kd_experiments.tracking.display import Display
from kd_experiments.training import capture
from kd_experiments.training.loop import Training

CLASSES = 100
Pair = tuple[str, str]  # teacher, student
PAIRS: tuple[Pair, ...] = (("resnet32x4", "resnet8x4"), ("resnet56", "resnet20"))
BATCH = 64


@dataclass(frozen=True)
class Subject:
    """One run, ready to train: its command line and configuration, its data and its teacher."""

    overrides: tuple[str, ...]
    config: Config
    data: Data
    teacher: Teacher

    def training(self, config: Config | None = None) -> Training:
        """The run's own training, or that of another `config` with the same teacher and data."""
        config, data = config or self.config, self.data
        frozen = (lambda: self.teacher.network) if config.source == "teacher" else None
        learners = make_learners(config, data, frozen)
        source = selected = None
        if config.source == "teacher":
            source = self.teacher.source(learners[0].objective.distiller)
            if not config.selection.is_everyone:
                scores = self.teacher.selection_scores(config.selection)
                selected = config.selection.mask(scores).to(device=data.device, dtype=torch.float32)
        recorder = capture.recorder(data.device, config.capture)
        return Training(learners, data, config.recipe, config.seed, source, selected, recorder)

    def with_overrides(self, *more: str) -> Config:
        """The configuration with more typed at the end of the command line."""
        return composed([*self.overrides, *more])


class Quiet(Display):
    """A display that shows nothing."""

    def __init__(self) -> None:
        from rich.console import Console

        super().__init__(Console(file=io.StringIO()))


@dataclass(frozen=True)
class Material:
    """A folder with images and teachers; `images` of them are for training, a ninth as many for validation."""

    folder: Path
    images: int

    def overrides(self, pair: Pair, *more: str) -> list[str]:
        """The command line of a KD run with this pair."""
        teacher, student = pair
        return [
            "dataset=cifar100",
            f"dataset.root={self._pictures()}",
            f"dataset.train_size={self.images}",
            f"teacher={teacher}",
            f"teacher.checkpoint={self._checkpoint(teacher)}",
            f"student={student}",
            "recipe=cifar_240",
            "recipe@teacher.recipe=cifar_240",
            f"recipe.batch_size={BATCH}",
            "tracking.mode=disabled",
            f"paths.results={self.folder / 'results'}",
            *more,
        ]

    def config(self, pair: Pair, *more: str) -> Config:
        return composed(self.overrides(pair, *more))

    def subject(self, pair: Pair, device: torch.device, *more: str) -> Subject:
        """A run with this pair, its teacher measured and kept."""
        overrides = self.overrides(pair, *more)
        config = composed(overrides)
        data = load(config.dataset, config.label_noise, config.data_folder).to(device)
        return Subject(tuple(overrides), config, data, obtain_teacher(config, data, Quiet()))

    def _pictures(self) -> Path:
        root = self.folder / f"cifar-{self.images}"
        folder = root / "cifar-100-python"
        if not folder.exists():
            write_pictures(folder, -(-max(self.images, 1000) * 10 // 9))  # validation has every class
        publish(folder)
        return root

    def _checkpoint(self, network: str) -> Path:
        path = self.folder / f"{network}.pth"
        if not path.exists():
            torch.manual_seed(0)
            torch.save({"model": build(network, classes=CLASSES, channels=3, size=32).state_dict()}, path)
        return path


def publish(folder: Path) -> None:
    """Let the files in a folder pass, in this process, for the published ones, which alone are opened."""

    def md5(name: str) -> str:
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    CIFAR100.train_list = [[name, md5(name)] for name, _ in CIFAR100.train_list]
    CIFAR100.test_list = [[name, md5(name)] for name, _ in CIFAR100.test_list]
    CIFAR100.meta = {**CIFAR100.meta, "md5": md5(CIFAR100.meta["filename"])}


def write_pictures(folder: Path, training: int) -> None:
    """`training` random images and as many test images as there are classes, in the files of CIFAR-100."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name, count in (("train", training), ("test", CLASSES)):
        fine = np.arange(count) % CLASSES
        content = {
            "data": generator.integers(0, 256, (count, 3 * 32 * 32), np.uint8),
            "fine_labels": fine.tolist(),
            "coarse_labels": (fine // 5).tolist(),
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
    names = {"fine_label_names": [f"class{i}" for i in range(CLASSES)], "coarse_label_names": []}
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))


def composed(overrides: list[str]) -> Config:
    """The checked configuration of a command line."""
    return check(composing.composed(overrides))
