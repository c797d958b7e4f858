"""What students and their teacher say about the test images: evaluated once, for all figures that need it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kd_experiments import files
from kd_experiments.data.dataset import Data
from kd_experiments.data.streamed import StreamedData
from kd_experiments.networks import build
from kd_experiments.reporting.figures.runs import Cannot, Run, Setting, Variant, again, variants
from kd_experiments.reporting.figures.teacher import data_of, teacher_folder
from kd_experiments.teachers.obtain import on_device
from kd_experiments.training.evaluation import outputs

METHODS = 5
SEEDS = 3
TOLERANCE = 0.005  # share of the test images on which another machine may decide otherwise
_SAID: dict[tuple[Path, int], Tensor] = {}  # by file and its time of change


@dataclass(frozen=True)
class Pupils:
    """The students of one method, and their logits on the test images, (N, C), by seed."""

    name: str
    logits: dict[int, Tensor]

    @property
    def label(self) -> str:
        return f"{self.name} (n = {len(self.logits)})"


@dataclass(frozen=True)
class Exam:
    """The test images' labels (N,), and what the teacher, if there is one, and the students say."""

    data: Data
    labels: Tensor
    teacher: Tensor | None
    teacher_name: str
    pupils: tuple[Pupils, ...]
    note: str  # which students these are, where there are more


def examine(setting: Setting) -> Exam:
    """Evaluate at most `SEEDS` students of each of at most `METHODS` methods; raises `Cannot` where none can be."""
    taught = next((run for run in setting.runs if run.config.source == "teacher"), None)
    data = data_of(setting.runs[0])
    if isinstance(data, StreamedData):
        reason = f"{data.name} is read from files: too large to ask every student for a figure"
        raise Cannot(
            reason, f"python -m kd_experiments dataset=cifar100 paths.results={setting.runs[0].config.results}"
        )
    found = variants(setting.runs)
    kept = [(variant, [run for run in variant.runs if (run.folder / "student.pt").exists()]) for variant in found]
    there = [(variant, runs[:SEEDS]) for variant, runs in kept if runs]
    if not there:
        raise Cannot(f"no student was kept ({setting.title})", again(setting.runs[0]))
    chosen = _chosen(there)
    pupils = [Pupils(variant.name, {run.seed: _asked(run, data) for run in runs}) for variant, runs in chosen]
    notes = [f"{METHODS} of {len(there)} methods: the baseline, KD and the best on val"] * (len(there) > METHODS)
    if any(len(runs) > SEEDS for _, runs in kept):
        notes.append(f"the first {SEEDS} seeds")
    said = None if taught is None else torch.from_numpy(np.load(teacher_folder(taught) / "outputs.npz")["test"])
    name = "" if taught is None else taught.config.teacher.network
    return Exam(data, data.test.labels.cpu(), said, name, tuple(pupils), "; ".join(notes))


def _chosen(there: Sequence[tuple[Variant, list[Run]]]) -> list[tuple[Variant, list[Run]]]:
    """The baseline and KD, then those with the highest accuracy on val; in the order of all figures."""

    def rank(place: int) -> tuple[bool, float]:
        variant, runs = there[place]
        accuracy = [run.record["metrics"]["val_top1_last"] for run in runs]
        return variant.name not in ("none", "kd"), -float(np.mean(accuracy))

    return [there[place] for place in sorted(sorted(range(len(there)), key=rank)[:METHODS])]


def _asked(run: Run, data: Data) -> Tensor:
    """A student's logits on the test images, (N, C), which must be as right as its record says."""
    path = run.folder / "student.pt"
    logits = _logits(path, run.config.student.network, data)
    if logits is None:
        raise Cannot(f"{path} cannot be read", again(run))
    right = float((logits.argmax(1) == data.test.labels.cpu()).float().mean()) * 100
    recorded = run.record["metrics"]["test_top1_last"]
    if abs(right - recorded) > 100 * max(TOLERANCE, 2 / len(logits)):
        reason = f"{path} is right on {right:.2f} % of the test images, its record says {recorded:.2f} %"
        raise Cannot(reason, again(run))
    return logits


def _logits(path: Path, network: str, data: Data) -> Tensor | None:
    """From the file of a student; several figures ask the same student."""
    key = (path, path.stat().st_mtime_ns)
    if key not in _SAID:
        kept = files.load_own(path)
        if kept is None:
            return None
        student = build(network, classes=data.classes, channels=data.channels, size=data.size)
        student.load_state_dict(kept["model"])
        _SAID[key] = outputs(on_device(student, data), data, data.test).logits.cpu()
    return _SAID[key]
