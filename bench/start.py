"""How long a person waits: for the help page, for a composed configuration, for the first training step."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from bench.measurement import Measurement, Setting, interleaved
from kd_experiments.places import PACKAGE

LIMITS = {"help": 0.8, "cfg_job": 1.0, "first_step": 5.0}


def figures(setting: Setting) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as results:
        run = [f"paths.results={results}", "tracking.mode=disabled", "method=kd"]
        call("kd_experiments", *run, "recipe.epochs=1")  # trains the teacher, fills the table for the first epoch
        seconds = interleaved(
            {
                "help": lambda: call("kd_experiments", "--help"),
                "cfg_job": lambda: call("kd_experiments", *run, "--cfg", "job"),
                "first_step": lambda: call("bench.start", *run, "seed=0", "recipe.epochs=2"),
            },
            setting.repetitions(5),
            setting.device,
        )
    about = {
        "help": "python -m kd_experiments --help",
        "cfg_job": "python -m kd_experiments --cfg job",
        "first_step": "from the command to the end of the first training step",
    }
    for name, values in seconds.items():
        yield Measurement(
            name=name,
            about=about[name],
            setting="digits, resnet20 -> resnet8, KD; teacher trained and table filled before",
            unit="s",
            better="lower",
            target=LIMITS[name],
            values=values,
            note="a fresh process each time, files in the system's cache",
        )


def call(module: str, *arguments: str) -> float:
    """Seconds of `python -m module`; raises `CalledProcessError` if it fails."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", module, *arguments], cwd=PACKAGE.parent, check=True, stdout=subprocess.DEVNULL
    )
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
