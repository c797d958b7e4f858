"""Trained networks in the format in which the public benchmarks publish theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kd_experiments import files
from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.tracking.record import read_record, read_teacher_record

USAGE = """\
usage: python -m kd_experiments.teachers export SIGNATURE_OR_FOLDER out=FILE [paths.results=DIR]

Writes the trained network of a run (its student) or of a teacher as the public benchmarks do:
{"model": state dict, "epoch": E, "accuracy": A, "best_acc": A}, on the CPU. A is the test accuracy, in percent, of
these very weights, which are those of the last epoch. teacher=NETWORK teacher.checkpoint=FILE makes it a teacher."""


@dataclass(frozen=True)
class Trained:
    """A finished training in its folder."""

    network: str
    epoch: int
    accuracy: float  # top-1 on test, in percent
    state: dict[str, Any]


def export(what: str, out: Path, results: Path) -> list[str]:
    """Write the file and return the lines to show; `what` is a signature below `results`, or a folder."""
    trained = read_trained(find_folder(what, results))
    content = {
        "model": {key: tensor.detach().cpu().contiguous() for key, tensor in trained.state.items()},
        "epoch": trained.epoch,
        "accuracy": trained.accuracy,
        "best_acc": trained.accuracy,
    }
    if out.is_dir():
        raise UserError(f"out={out}: is a folder; give the name of a file")
    try:
        files.write_bytes(out, files.serialised(content))
    except UserError as error:
        reason = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error
        raise UserError(f"out={out}: cannot be written ({reason})") from error
    return [
        f"written: {out} ({trained.network}, epoch {trained.epoch}, test {trained.accuracy:.2f} %)",
        f"use it:  teacher={trained.network} teacher.checkpoint={out}",
    ]


def find_folder(what: str, results: Path) -> Path:
    """The folder of a run or of a teacher."""
    parents = (results / "runs", results / "teachers")
    for folder in (Path(what), *(parent / what for parent in parents)):
        if folder.is_dir():
            return folder
    known = [folder.name for parent in parents if parent.is_dir() for folder in parent.iterdir() if folder.is_dir()]
    there = did_you_mean(what, known) or "; give paths.results=DIR if they are elsewhere"
    raise UserError(f"{what}: no such folder, and no run or teacher of this signature in {results}{there}")


def read_trained(folder: Path) -> Trained:
    """The network a folder holds; `UserError` where no training has been finished in it."""
    is_run = (folder / "student.pt").exists()
    accuracy = _accuracy(folder / "record.json", is_run)
    kept = files.load_own(folder / ("student.pt" if is_run else "teacher.pt"))
    if kept is None or accuracy is None:
        raise UserError(f"{folder}: no finished training here; give the folder of a complete run or teacher")
    return Trained(kept["network"], kept["epoch"], accuracy, kept["model"])


def _accuracy(path: Path, is_run: bool) -> float | None:
    """Test top-1 of a finished training, in percent; None where there is none."""
    if is_run:
        run = read_record(path)
        return run.metrics["test_top1_last"] if run is not None and run.status == "complete" else None
    teacher = read_teacher_record(path)
    return None if teacher is None else teacher.facts.test_top1
