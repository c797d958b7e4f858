"""What a sweep takes before it is run: runs, hours on this machine's device, disk, and the launcher that suits it."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from kd_experiments import files
from kd_experiments.config import Config
from kd_experiments.data.settings import StreamedConfig
from kd_experiments.data.views import Views
from kd_experiments.distillers import DISTILLERS
from kd_experiments.errors import UserError
from kd_experiments.identity import signature, teacher_signature
from kd_experiments.networks import build
from kd_experiments.sweeping.definitions import each_run, outline
from kd_experiments.sweeping.listing import columns
from kd_experiments.tracking.record import RunFolder
from kd_experiments.tracking.words import duration
from kd_experiments.training import devices

# Training images, channels, size and classes of the published data sets, so that a plan needs none of them.
SHAPES = {
    "digits": (1347, 1, 8, 10),
    "fashion_mnist": (60_000, 1, 28, 10),
    "cifar10": (50_000, 3, 32, 10),
    "cifar100": (50_000, 3, 32, 100),
    "cinic10": (90_000, 3, 32, 10),
    "tiny_imagenet": (100_000, 3, 64, 200),
    "imagenet": (1_281_167, 3, 224, 1000),
}
BUSY = 0.9  # of the cores, by the system's load
TIMED_SECONDS = 1.0  # of a network's steps, after one that is not timed

Shape = tuple[int, int, int]  # channels, size, classes
# (network, shape, images a step, does it learn) -> images a second
Speeds = Callable[[str, Shape, int, bool], float]


@dataclass(frozen=True)
class Work:
    """What one run has to do, in numbers."""

    signature: str
    student: str
    learners: int  # networks that learn in a step: two where they teach each other
    shape: Shape
    images: int  # of the training set
    epochs: int
    batch: int
    teacher: str | None
    teacher_signature: str
    teacher_epochs: int  # 0: it is given
    asks_always: bool  # does the teacher compute in every step, rather than be looked up?
    views: int  # of each image that the table keeps
    seed: int
    answer_bytes: int  # of one view in the table


def work_of(config: Config) -> Work:
    """What the time and the disk of a run depend on."""
    data, taught = config.dataset, config.source == "teacher"
    if data.name not in SHAPES:
        raise UserError(f"dataset={data.name}: how many images it has is known when it is read; plan published data")
    stored, channels, size, classes = SHAPES[data.name]
    size = getattr(data, "image_size", None) or size
    images = data.train_size or round(stored * (1 - (data.val_fraction or 0.1)))
    recipe, streamed = config.recipe.for_samples(images), isinstance(data, StreamedConfig)
    needs = DISTILLERS[config.method.distiller].needs
    format_bytes = 2 if config.teacher.table_dtype == "float16" else 4
    views = 1 if streamed else Views(data.crop_padding, data.flip).count
    fits = images * views * (classes * format_bytes + 4) <= config.teacher.table_budget * 2**30
    tabled = taught and not streamed and config.teacher.table != "off" and fits
    return Work(
        signature(config),
        config.student.network,
        2 if config.source == "peer" else 1,
        (channels, size, classes),
        images,
        recipe.epochs,
        recipe.batch_size,
        config.teacher.network if taught else None,
        teacher_signature(config) if taught else "",
        0 if config.teacher.checkpoint else config.teacher.recipe.for_samples(images).epochs,
        taught and (needs == "features" or not tabled),
        views if tabled else 0,
        config.seed,
        classes * format_bytes + 4,
    )


@dataclass(frozen=True)
class Cost:
    """Seconds of one device, and bytes."""

    students: float
    teachers: float  # their training
    answers: float  # what they say of every view that is asked for, once
    students_bytes: float
    tables_bytes: float

    @property
    def seconds(self) -> float:
        return self.students + self.teachers + self.answers


def cost(plans: Sequence[Work], speed: Speeds) -> Cost:
    """The sum over runs, with each teacher trained once and asked once about each view.

    A step costs what the student's costs, and the teacher's forward where it is asked in every step. A method's own
    layers, evaluation and reading are not in it.
    """
    students, teachers, answers, tables = 0.0, 0.0, 0.0, 0.0
    for one in plans:
        shown = one.epochs * one.images
        students += shown * one.learners / speed(one.student, one.shape, one.batch, True)
        if one.teacher is not None and one.asks_always:
            students += shown / speed(one.teacher, one.shape, one.batch, False)
    for taught in _by_teacher(plans).values():
        one = taught[0]
        assert one.teacher is not None
        if one.teacher_epochs:
            teachers += one.teacher_epochs * one.images / speed(one.teacher, one.shape, one.batch, True)
        looked_up = [run for run in taught if run.views]
        if looked_up:
            drawn = sum({run.seed: run.epochs for run in looked_up}.values())  # views do not depend on the method
            rows = one.images * min(looked_up[0].views, drawn)
            answers += rows / speed(one.teacher, one.shape, one.batch, False)
            tables += one.images * looked_up[0].views * looked_up[0].answer_bytes
    kept = sum(_parameters(one.student, one.shape) * 4.0 for one in plans)
    return Cost(students, teachers, answers, kept, tables)


@dataclass(frozen=True)
class Told:
    """A plan in lines for a person, and the arguments of Python that start it."""

    lines: Sequence[str]
    start: Sequence[str]


def plan(name: str, over: Sequence[str], results: Path) -> Told:
    """What is missing of a sweep below `results`, with `over` laid over it, and what that takes on this machine.

    A launcher and `imports` among the words of `over` are kept. `UserError` for an unknown sweep and for data that are
    the user's own.
    """
    chosen = [word for word in over if word.startswith(("hydra", "imports="))]
    over = [word for word in over if word not in chosen]
    told = outline(name, over)
    plans = list({one.signature: one for one in each_run(name, over, work_of)}.values())
    missing = [one for one in plans if not _is_done(results, one.signature)]
    device = devices.pick("auto")
    preset = launcher(device)
    if not any(word.startswith("hydra/launcher=") for word in chosen):
        chosen.append(f"hydra/launcher={preset}")
    start = ["-m", "kd_experiments", "--multirun", f"+sweeps={name}", *over, f"paths.results={results}", *chosen]
    speeds = Measured(device, results / "sweeps" / "speeds.json")
    takes = cost(missing, speeds)
    unit = {"cuda": "GPU", "cpu": "CPU"}.get(device.type, device.type)
    teachers = _by_teacher(missing).values()
    trained = sum(1 for taught in teachers if taught[0].teacher_epochs)
    parts = {"students": takes.students, "teachers": takes.teachers, "teachers' answers": takes.answers}
    rows = [
        ("runs", f"{len(plans):,}, {len(plans) - len(missing):,} done, {len(missing):,} to run"),
        ("teachers", f"{len(teachers):,}, {trained:,} to train"),
        ("time", f"{_hours(takes.seconds)} {unit}-hours ({duration(takes.seconds)} on one)"),
        ("", ", ".join(f"{part} {_hours(seconds)}" for part, seconds in parts.items())),
        ("disk", f"{_size(takes.students_bytes)} of students, {_size(takes.tables_bytes)} of teachers' answers"),
        ("start", shlex.join(["python", *start])),
    ]
    return Told(
        [
            f"{told.words}: {told.title}",
            *columns(rows),
            "",
            f"Speeds were measured by this command on {speeds.where}, and are kept in {speeds.kept}. Not in them:",
            "a method's own layers, evaluation, reading.",
            *speeds.caution(),
            *columns([("network", "image", "learning", "answering"), *speeds.rows()], right=(2, 3)),
        ],
        start,
    )


def launcher(device: torch.device) -> str:
    """The preset for where this is typed: the cluster's queue, runs that share a GPU, or one run a CPU."""
    if shutil.which("sbatch"):
        return "slurm_gpu" if device.type == "cuda" else "slurm_cpu"
    return "gpu_shared" if device.type == "cuda" else "parallel"


class Measured:
    """Speeds of networks on one device, measured when they are asked for and kept in a file."""

    def __init__(self, device: torch.device, kept: Path) -> None:
        self.device = device
        self.kept = kept
        place = f"{devices.cpu_name()}, {torch.get_num_threads()} threads"
        if device.type == "cuda":
            place = torch.cuda.get_device_name(device)
        self.where = f"{place}, {devices.resolved_precision('auto', device.type)}, torch {torch.__version__}"
        known: Any = files.read_json(kept)
        self._all: dict[str, dict[str, float]] = known if isinstance(known, dict) else {}
        self._measured = False
        self._asked: dict[tuple[str, Shape], None] = {}

    def __call__(self, network: str, shape: Shape, batch: int, learns: bool) -> float:
        key = self._key(network, shape, batch, learns)
        here = self._all.setdefault(self.where, {})
        self._asked[network, shape] = None
        if not isinstance(here.get(key), float):
            self._measured = True
            here[key] = images_per_second(network, shape, batch, learns, self.device)
            files.write_json(self.kept, self._all)
        return here[key]

    def caution(self) -> list[str]:
        """A line where the machine had something else to do while this call measured."""
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        if not self._measured or load <= BUSY * cores:
            return []
        return [f"The machine was busy (load {load:.1f} on {cores} cores): remove that file and type this again later."]

    def rows(self) -> list[tuple[str, ...]]:
        """Network, image, and images a second of every network that was asked for."""
        here = self._all.get(self.where, {})
        found = []
        for network, shape in self._asked:
            both = [
                next((f"{rate:,.0f}/s" for key, rate in here.items() if key.startswith(start)), "-")
                for start in (self._start(network, shape, True), self._start(network, shape, False))
            ]
            found.append((network, f"{shape[0]}x{shape[1]}x{shape[1]}", *both))
        return found

    def _key(self, network: str, shape: Shape, batch: int, learns: bool) -> str:
        return f"{self._start(network, shape, learns)} {batch}"

    def _start(self, network: str, shape: Shape, learns: bool) -> str:
        return f"{network} {'x'.join(map(str, shape))} {'learning' if learns else 'answering'}"


def images_per_second(network: str, shape: Shape, batch: int, learns: bool, device: torch.device) -> float:
    """Of training steps, or of forward passes without gradients, on images of noise."""
    channels, size, classes = shape
    devices.make_deterministic(device, None)
    made = build(network, classes=classes, channels=channels, size=size).to(device)
    made.to(memory_format=torch.channels_last).train(learns)
    images = torch.randn(batch, channels, size, size, device=device).to(memory_format=torch.channels_last)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    optimizer = torch.optim.SGD(made.parameters(), lr=1e-9, momentum=0.9)

    def step() -> None:
        with torch.set_grad_enabled(learns), devices.autocast(device):
            logits = made(images).logits
        if learns:
            optimizer.zero_grad()
            F.cross_entropy(logits.float(), labels).backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    step()
    steps, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < TIMED_SECONDS or steps < 3:
        step()
        steps += 1
    return steps * batch / seconds


def _by_teacher(plans: Iterable[Work]) -> Mapping[str, list[Work]]:
    found: dict[str, list[Work]] = {}
    for one in plans:
        if one.teacher is not None:
            found.setdefault(one.teacher_signature, []).append(one)
    return found


def _parameters(network: str, shape: Shape) -> int:
    with torch.device("meta"):
        made = build(network, classes=shape[2], channels=shape[0], size=shape[1])
    return sum(parameter.numel() for parameter in made.parameters())


def _is_done(results: Path, name: str) -> bool:
    record = RunFolder(results / "runs" / name).read()
    return record is not None and record.is_done


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.2g}" if hours < 1 else f"{hours:.1f}"


def _size(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
