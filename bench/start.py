"""How long a person waits: for the help page, a composed configuration, the first training step, and for answers about
runs that are there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.measurement import Measurement, Setting, interleaved
from kd_experiments.places import PACKAGE
from tests.reporting.synthetic import many, write

LIMITS = {
    "help": 0.8, "cfg_job": 1.0, "first_step": 5.0, "already_done": 1.0, "status": 1.0, "sweeps_list": 2.0,
    "tables": 5.0, "compose": 5.0,
}  # fmt: skip
ABOUT = {
    "help": "python -m kd_experiments --help",
    "cfg_job": "python -m kd_experiments --cfg job",
    "first_step": "from the command to the end of the first training step",
    "already_done": "the command of a run that is done",
    "status": "python -m kd_experiments.sweeping status, of one run",
    "sweeps_list": "python -m kd_experiments.sweeping list",
    "tables": "python -m kd_experiments.reporting write=tables",
    "compose": "the names of 504 runs: python -m kd_experiments.sweeping status name=lrds_ratio with 12 seeds",
}
MANY = "experiment=small/digits seed=" + ",".join(map(str, range(12)))  # over 42 conditions


def figures(setting: Setting) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        run = [f"paths.results={folder}/own", "tracking.mode=disabled", "method=kd"]
        call("kd_experiments", *run, "recipe.epochs=1")  # trains the teacher, fills the table for the first epoch
        some, all_ = (100, 200) if setting.quick else (1000, 10_000)
        for count in (some, all_):
            write(Path(folder) / str(count), *many(count))
        answers = {
            "help": ["kd_experiments", "--help"],
            "cfg_job": ["kd_experiments", *run, "--cfg", "job"],
            "first_step": ["bench.start", *run, "seed=0", "recipe.epochs=2"],
            "already_done": ["kd_experiments", *run, "recipe.epochs=1"],
            "status": ["kd_experiments.sweeping", "status", run[0]],
            "sweeps_list": ["kd_experiments.sweeping", "list", f"paths.results={folder}/{some}"],
            "tables": ["kd_experiments.reporting", f"paths.results={folder}/{all_}", "write=tables"],
            "compose": ["kd_experiments.sweeping", "status", "name=lrds_ratio", f"over={MANY}", run[0]],
        }
        parts = {name: partial(call, *words) for name, words in answers.items()}
        seconds = interleaved(parts, setting.repetitions(5), setting.device)
    where = {"sweeps_list": f"{some:,} records", "tables": f"{all_:,} records"}
    for name, values in seconds.items():
        yield Measurement(
            name=name,
            about=ABOUT[name],
            setting=where.get(name, "digits, resnet20 -> resnet8, KD; teacher trained and table filled before"),
            unit="s",
            better="lower",
            target=LIMITS[name],
            values=values,
            note="a fresh process each time, files in the system's cache",
        )


def call(module: str, *arguments: str) -> float:
    """Seconds of `python -m module`; raises `CalledProcessError` if it fails.

    Modules are compiled once and kept, as an installed package has them, whatever the shell says.
    """
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    words = [sys.executable, "-m", module, *arguments]
    started = time.perf_counter()
    subprocess.run(words, cwd=PACKAGE.parent, check=True, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - started


def until_first_step() -> int:
    """The command line itself, in a process that ends with code 0 after the first training step."""
    from kd_experiments.__main__ import main
    from kd_experiments.training.loop import Training

    step = Training.train_step

    def last(*arguments: object, **named: object) -> None:
        step(*arguments, **named)  # type: ignore[arg-type]  # whatever the loop hands it
        os._exit(0)

    Training.train_step = last  # type: ignore[assignment, method-assign]  # stands in for the step
    return main() or 3  # it ended without a step


if __name__ == "__main__":
    sys.exit(until_first_step())
