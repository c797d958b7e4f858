"""Does the runs whose overrides stand in the arguments, one argument a run; a program for torchrun to start."""

from __future__ import annotations

import sys

from kd_experiments.cli.composing import composed
from kd_experiments.config import check
from kd_experiments.single_run import run

if __name__ == "__main__":
    for overrides in sys.argv[1:]:
        run(check(composed(overrides.split())))
