"""`make check-gpu`: does everything that a GPU does otherwise than a CPU work on this one, and how fast is it?

Every part runs in a process of its own, because an error of CUDA spoils the process it happened in: a part that fails
is named and the next one still runs. Ten minutes in all, at most. Without a GPU it says so and is content.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench import epoch, whole_run
from bench.material import PAIRS, Material, Pair, Quiet, Subject
from bench.measurement import Setting
from bench.tables import table, write
from kd_experiments.cli.choices import methods
from kd_experiments.places import PACKAGE
from kd_experiments.single_run import run
from kd_experiments.tracking.machine import machine
from kd_experiments.training import capture, devices
from kd_experiments.training.loop import Training

PAIR: Pair = ("resnet20", "resnet8")  # for what is checked and not timed
IMAGES = 512
BATCH = 32
STEPS = capture.WARM_UP + 5  # recorded after the warm-up, compared once, then replayed
LIMIT = 600.0  # seconds for everything

Line = dict[str, Any]


class Skipped(Exception):
    """This machine lacks what the part needs; says what."""


@dataclass(frozen=True)
class Place:
    """Where a part works, and how it gets a recorder of steps; a test puts another one in its place."""

    device: torch.device
    folder: Path
    recorder: Callable[[torch.device], capture.Recorder | None] = lambda device: capture.recorder(device, "auto")

    def material(self, images: int = IMAGES) -> Material:
        return Material(self.folder, images)

    def weights(self, name: str, *more: str, display: Quiet | None = None) -> dict[str, Tensor]:
        """The student of a short run in float32, whose results lie in a folder of this name."""
        run(self.material().config(PAIR, *self.overrides(name, *more)), display or Quiet())
        return self.student(name)

    def overrides(self, name: str, *more: str) -> list[str]:
        """What is typed for such a run besides the pair."""
        short = ["recipe.epochs=2", f"device={self.device.type}", "precision=float32"]
        return [*short, f"paths.results={self.results(name)}", *more]

    def results(self, name: str) -> Path:
        return self.folder / f"results-{name}"

    def student(self, name: str) -> dict[str, Tensor]:
        (path,) = self.results(name).glob("runs/*/student.pt")
        model: dict[str, Tensor] = torch.load(path, weights_only=True, map_location="cpu")["model"]
        return model


def steps(place: Place) -> Iterator[Line]:
    """Every method's step, recorded and replayed, does what the written one does."""
    devices.make_deterministic(place.device, None, "float32")
    subject = place.material().subject(PAIR, place.device)
    wrong = []
    for method in methods():
        try:
            reason = _replayed_otherwise(place, subject, method.name)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
        if reason is not None:
            wrong.append(f"{method.name} ({reason})")
        yield {"checked": method.name, "ok": reason is None, "note": reason or ""}
    if wrong:
        raise AssertionError(f"not as written: {', '.join(wrong)}")


def _replayed_otherwise(place: Place, subject: Subject, method: str) -> str | None:
    written, replayed = (_training(subject, method) for _ in range(2))
    written.recorder, replayed.recorder = None, place.recorder(place.device)
    before = [tensor.clone() for tensor in written.learners[0].network.state_dict().values()]
    waits = any(learner.objective.distiller.waits for learner in written.learners)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", RuntimeWarning)
        for training in (written, replayed):
            training.train_epoch(0)  # after an initialisation, if there is one
    said = [str(warning.message) for warning in told if issubclass(warning.category, RuntimeWarning)]
    if said and not waits:
        return said[0]
    ours, theirs = (list(training.learners[0].network.state_dict().values()) for training in (replayed, written))
    return None if capture.alike(ours, theirs, before) else "ends with other weights"


def _training(subject: Subject, method: str) -> Training:
    """A training whose epochs have `STEPS` steps at least."""
    few = [f"method.negatives={IMAGES // 4}"] if method.startswith("crd") else []
    config = subject.with_overrides(f"method={method}", f"recipe.batch_size={BATCH}", *few)
    training = subject.training(config)
    assert len(subject.data.train) // BATCH >= STEPS
    return training


def precisions(place: Place) -> Iterator[Line]:
    """float32 repeats itself to the last bit; bfloat16 is another result, and a finite one."""
    first, again = place.weights("float32"), place.weights("float32-again")
    same = _same(first, again)
    yield {"checked": "float32 twice", "ok": same, "note": "" if same else f"differ by {_apart(first, again):.2g}"}
    half = place.weights("bfloat16", "precision=bfloat16")
    finite = all(bool(tensor.isfinite().all()) for tensor in half.values() if tensor.is_floating_point())
    yield {"checked": "bfloat16", "ok": finite and not _same(first, half), "note": f"{_apart(first, half):.2g} apart"}


def tables(place: Place) -> Iterator[Line]:
    """The teacher's table on disk, on the device and nowhere: the same student, of logits and of embeddings."""
    for method in ("kd", "rkd"):
        found = {
            where: place.weights(f"{method}-{where}", f"method={method}", f"teacher.table={where}")
            for where in ("disk", "memory", "off")
        }
        for where in ("memory", "off"):
            apart = _apart(found["disk"], found[where])
            yield {"checked": f"{method}, {where}", "ok": apart == 0, "note": f"{apart:.2g} from disk" if apart else ""}


def resume(place: Place) -> Iterator[Line]:
    """A run that was interrupted after its first epoch, and asked for again."""

    class Interrupted(Quiet):
        def epoch(self, row: Any) -> None:
            raise KeyboardInterrupt

    whole = place.weights("whole")
    try:
        place.weights("halves", display=Interrupted())
    except KeyboardInterrupt:
        pass
    else:
        raise AssertionError("the run was not interrupted")
    apart = _apart(whole, place.weights("halves"))
    yield {"checked": "interrupted and asked again", "ok": apart == 0, "note": f"{apart:.2g} apart" if apart else ""}


def sharing(place: Place) -> Iterator[Line]:
    """Two runs at the same time on one device, against each of them alone."""
    names = {seed: f"shared-{seed}" for seed in (0, 1)}
    material = place.material()
    commands = [
        [*material.overrides(PAIR), *place.overrides(name, f"seed={seed}", "threads=1")] for seed, name in names.items()
    ]
    running = [
        subprocess.Popen([sys.executable, "-m", "bench.run", *command], stdout=subprocess.DEVNULL, cwd=PACKAGE.parent)
        for command in commands
    ]
    codes = [process.wait() for process in running]
    if any(codes):
        raise AssertionError(f"exit codes {codes}")
    for seed, name in names.items():
        apart = _apart(place.student(name), place.weights(f"alone-{seed}", f"seed={seed}", "threads=1"))
        yield {"checked": f"seed {seed}", "ok": apart == 0, "note": f"{apart:.2g} from alone" if apart else ""}


def memory(place: Place) -> Iterator[Line]:
    """A run that the device's memory does not hold fails as such, and the next one in the process works."""
    if place.device.type != "cuda":
        raise Skipped("the memory of a GPU can be limited, a CPU's not")
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        place.weights("too-large", "teacher.table=off", "recipe.batch_size=512")
    except torch.OutOfMemoryError as error:
        yield {"checked": "too large", "ok": True, "note": str(error).splitlines()[0]}
    else:
        raise AssertionError("a thousandth of the memory was enough")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    place.weights("too-large", "teacher.table=off", "recipe.batch_size=512")
    yield {"checked": "afterwards", "ok": True, "note": ""}


def two_gpus(place: Place) -> Iterator[Line]:
    """One run on two GPUs under torchrun, with NCCL, against one GPU."""
    if place.device.type == "cuda" and torch.cuda.device_count() < 2:
        raise Skipped("one GPU")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*place.material().overrides(PAIR), *place.overrides("two", "threads=1")]
    subprocess.run([*torchrun, "-m", "bench.run", *command], check=True, stdout=subprocess.DEVNULL, cwd=PACKAGE.parent)
    one, two = place.weights("one", "threads=1"), place.student("two")
    change = sum(float(tensor.double().norm()) for tensor in one.values()) or 1.0
    apart = sum(float((one[name].double() - two[name].double()).norm()) for name in one) / change
    yield {"checked": "two processes against one", "ok": apart < 0.01, "note": f"weights differ by {apart:.2g} of them"}


def figures(place: Place) -> Iterator[Line]:
    """The bench's column for this device: epoch, first run, bare loop, a whole run, torch.compile."""
    setting = Setting(True, place.device)
    devices.make_deterministic(place.device, None)
    pair = PAIRS[0]
    with tempfile.TemporaryDirectory() as folder:
        subject = Material(Path(folder), 1000).subject(pair, place.device)
        for figure in epoch.of_pair(subject, pair, 5):
            yield json.loads(figure.line(setting))
    for figure in whole_run.figures(setting):
        yield json.loads(figure.line(setting))


PARTS: dict[str, tuple[Callable[[Place], Iterator[Line]], float]] = {  # with seconds, at most
    "steps": (steps, 180),
    "precisions": (precisions, 60),
    "tables": (tables, 90),
    "resume": (resume, 60),
    "sharing": (sharing, 90),
    "memory": (memory, 60),
    "two_gpus": (two_gpus, 90),
    "figures": (figures, 240),
}


def _same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference between two networks' tensors."""
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def part(name: str, place: Place) -> Iterator[Line]:
    """The lines of a part and, last, how it went; never raises."""
    started, bad = time.perf_counter(), []
    outcome, note = "ok", ""
    try:
        for line in PARTS[name][0](place):
            yield {"part": name, **line}
            if line.get("ok") is False:
                bad.append(line["checked"])
    except Skipped as reason:
        outcome, note = "skipped", str(reason)
    except Exception as error:
        traceback.print_exc()
        outcome, note = "failed", f"{type(error).__name__}: {error}".splitlines()[0]
    if bad and outcome == "ok":
        outcome, note = "failed", ", ".join(bad)
    yield {"part": name, "outcome": outcome, "note": note, "seconds": round(time.perf_counter() - started, 1)}


def in_a_process(name: str, seconds: float) -> list[Line]:
    """A part's lines from a process of its own; says so itself where that died or took too long."""
    lines: list[Line] = []
    command = [sys.executable, "-m", "bench.check_gpu", "--part", name]
    try:
        ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds, cwd=PACKAGE.parent)
        said, why = ended.stdout, f"its process ended with code {ended.returncode}"
    except subprocess.TimeoutExpired as error:
        said, why = (error.stdout or b"").decode(), f"not done after {seconds:.0f} s"
    for text in said.splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue  # a run's own words, or half a line
    if not lines or "outcome" not in lines[-1]:
        lines.append({"part": name, "outcome": "failed", "note": why, "seconds": None})
    return lines


def summary(lines: list[Line], where: Line) -> str:
    """What was found as Markdown: the parts, then the figures."""
    ends = [line for line in lines if "outcome" in line]
    rows = [[line["part"], line["outcome"], str(line["seconds"]), line["note"]] for line in ends]
    packages = where["packages"]
    head = f"{where['device_name']}, torch {packages['torch']}, Python {where['python']}, commit {where['commit']}"
    measured = [line for line in lines if "figure" in line]
    parts = [head, table(["part", "outcome", "seconds", "note"], rows)]
    return "\n\n".join([*parts, *([write(measured)] if measured else [])])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.check_gpu", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="PART", help=f"which parts: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if unknown := set(given.names) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: no such part; choose from {', '.join(PARTS)}")
    if not torch.cuda.is_available():
        print("check-gpu: no GPU here (torch.cuda.is_available() is false), so nothing was checked")
        return 0
    if given.part is not None:
        with tempfile.TemporaryDirectory() as folder:
            for line in part(given.part, Place(torch.device("cuda"), Path(folder))):
                print(json.dumps(line), flush=True)
        return 0
    started, lines = time.perf_counter(), []
    for name in given.names or PARTS:
        left = LIMIT - (time.perf_counter() - started)
        found = in_a_process(name, min(PARTS[name][1], left)) if left > 20 else []
        lines += found or [{"part": name, "outcome": "failed", "note": "no time was left for it", "seconds": None}]
        print(f"{name}: {lines[-1]['outcome']} {lines[-1]['note']}".rstrip(), file=sys.stderr, flush=True)
    where = asdict(machine(torch.device("cuda")))
    reports = PACKAGE.parent / "results" / "bench"
    reports.mkdir(parents=True, exist_ok=True)
    path = reports / f"gpu-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}.jsonl"
    path.write_text("".join(json.dumps(line | {"machine": where}) + "\n" for line in lines))
    print(summary(lines, where))
    print(f"kept in {os.path.relpath(path)}", file=sys.stderr)
    return 1 if any(line.get("outcome") == "failed" for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
