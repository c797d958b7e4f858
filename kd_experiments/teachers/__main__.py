"""`python -m kd_experiments.teachers export|fill|download ...`: networks as files, view tables, published teachers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import parse
from kd_experiments.cli.hydra_errors import explain
from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.teachers import download, export, fill

USAGES = {"export": export.USAGE, "fill": fill.USAGE, "download": download.USAGE}


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0, 2 for a mistake of the user, or 130 if interrupted."""
    command = next((argument for argument in arguments if "=" not in argument), "")
    given = [argument for argument in arguments if argument != command]
    if {"-h", "--help"} & set(arguments):
        print("\n\n".join([USAGES[command]] if command in USAGES else USAGES.values()))
        return 0
    try:
        run(command, given)
    except UserError as error:
        return _say(f"error: {error}", 2)
    except KeyboardInterrupt:
        return _say("interrupted; the same command goes on where it stopped", 130)
    except Exception as error:
        sentence = explain(error, given)
        if sentence is None:
            raise
        return _say(f"error: {sentence}", 2)
    return 0


def run(command: str, given: Sequence[str]) -> None:
    """Do what the arguments say."""
    if command not in USAGES:
        near = did_you_mean(command, USAGES)
        raise UserError(f"{command or 'no command'}: give the command export, fill or download{near}")
    if command == "fill":
        _fill(given)
        return
    named = [argument for argument in given if "=" not in argument]
    settings = [argument for argument in given if "=" in argument]
    if command == "download":
        if len(named) != 1:
            raise UserError("download: give one set of teachers, such as cifar100 (--help shows how)")
        values = parse(settings, {"url": "", "sha256": "", "paths.results": "results"})
        for line in download.download(named[0], Path(values["paths.results"]), values["url"], values["sha256"]):
            print(line, flush=True)
        return
    values = parse(settings, {"out": "", "paths.results": "results"})
    if len(named) != 1:
        raise UserError(f"export: give one signature or folder, not {len(named)} (--help shows how)")
    if not values["out"]:
        raise UserError("export: give out=FILE, the file to write")
    for line in export.export(named[0], Path(values["out"]), Path(values["paths.results"])):
        print(line)


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


def _say(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
