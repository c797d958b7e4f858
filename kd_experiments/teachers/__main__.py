"""`python -m kd_experiments.teachers export|fill|download ...`: networks as files, view tables, published teachers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import answered, asks_for_help, parse
from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.teachers import download, export, fill

USAGES = {name: module.USAGE.strip() for name, module in {"export": export, "fill": fill, "download": download}.items()}


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, 1 if an exported file does not predict the same, or 2 for a mistake of the user."""
    command = next((argument for argument in arguments if "=" not in argument), "")
    given = [argument for argument in arguments if argument != command]
    if asks_for_help(arguments, "\n\n".join([USAGES[command]] if command in USAGES else USAGES.values()) + "\n"):
        return 0
    return answered(lambda: _run(command, given), given)


def _run(command: str, given: Sequence[str]) -> int:
    """Do what the arguments say."""
    if command == "export":
        return export.command(given)
    if command == "fill":
        _fill(given)
    elif command == "download":
        _download(given)
    else:
        near = did_you_mean(command, USAGES)
        raise UserError(f"{command or 'no command'}: give the command export, fill or download{near}")
    return 0


def _download(arguments: Sequence[str]) -> None:
    named = [argument for argument in arguments if "=" not in argument]
    if len(named) != 1:
        raise UserError("download: give one set of teachers, such as cifar100 (--help shows how)")
    given = [argument for argument in arguments if "=" in argument]
    values = parse(given, {"url": "", "sha256": "", "paths.results": "results"})
    for line in download.download(named[0], Path(values["paths.results"]), values["url"], values["sha256"]):
        print(line, flush=True)


def _fill(overrides: Sequence[str]) -> None:
    """Fill the table of the teacher that a run with these overrides would ask."""
    from kd_experiments.cli.composing import composed
    from kd_experiments.config import check
    from kd_experiments.data.load import load
    from kd_experiments.distillers import DISTILLERS
    from kd_experiments.single_run import obtain_teacher
    from kd_experiments.tracking.display import Display
    from kd_experiments.training import devices

    config, display = check(composed(overrides)), Display()
    if config.teacher.table in ("memory", "off"):
        raise UserError(
            f"teacher.table={config.teacher.table}: such a table ends with its process, there is nothing to fill in "
            f"advance; give teacher.table=disk"
        )
    device = devices.pick(config.device)
    devices.make_deterministic(device, config.threads, config.precision)
    data = load(config.dataset, config.label_noise, config.data_folder).to(device)
    needs = DISTILLERS[config.method.distiller].needs
    fill.fill(obtain_teacher(config, data, display), display, "embedding" if needs == "embedding" else "logits")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
