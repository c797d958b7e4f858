"""`python -m kd_experiments.data prepare NAME ...`: get a data set ready before the first run."""

from __future__ import annotations

import sys

from kd_experiments.cli.arguments import answered
from kd_experiments.errors import did_you_mean


def main(arguments: list[str]) -> int:
    """The exit code: 0, or 2 for a mistake of the user or missing data."""
    return answered(lambda: _answer(arguments), arguments)


def _answer(arguments: list[str]) -> int:
    from kd_experiments import own_code
    from kd_experiments.data.prepare import USAGE, names, prepare

    arguments = own_code.taken_from(arguments)
    own_code.load()
    usage = USAGE.format(names=", ".join(names()))
    if {"-h", "--help"} & set(arguments):
        print(usage)
        return 0
    if len(arguments) < 2 or arguments[0] != "prepare":
        if arguments and arguments[0] != "prepare":
            near = did_you_mean(arguments[0], ["prepare"])
            print(f"error: {arguments[0]}: no such command{near}", file=sys.stderr)
        print(usage, file=sys.stderr)
        return 2
    print("\n".join(prepare(arguments[1], arguments[2:])))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
