"""`python -m kd_experiments.teachers export|fill|download ...`: networks as files, view tables, published teachers."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from kd_experiments.cli.arguments import answered, asks_for_help, parse
from kd_experiments.errors import UserError, did_you_mean
from kd_experiments.teachers import download, export

FILL = """\
python -m kd_experiments.teachers fill [KEY=VALUE ...]

Asks the teacher about every view of every training image and keeps the answers: logits, and embeddings too with a
method that reads them (rkd, pkt, cc, crd). The keys are those of a run: dataset, teacher, label_noise, paths.results,
device and so on; a teacher that is not there is trained first. May be interrupted and asked again, and several
processes may fill one table at the same time.

  python -m kd_experiments.teachers fill experiment=cifar100/resnet56_resnet20
  python -m kd_experiments.teachers fill dataset=fashion_mnist teacher=resnet32 method=rkd teacher.table_dtype=float16
"""
USAGES = {"export": export.USAGE.strip(), "fill": FILL.strip(), "download": download.USAGE.strip()}


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
    """Fill wholly the table of the teacher that a run with these overrides would ask, so that no run of a logit method
    ever asks it; `UserError` where views have no number.
    """
    import torch

    from kd_experiments.cli.composing import composed
    from kd_experiments.cli.mistypings import refuse
    from kd_experiments.cli.paths import readable
    from kd_experiments.config import check
    from kd_experiments.data.load import load
    from kd_experiments.distillers import DISTILLERS
    from kd_experiments.single_run import memory_told, obtain_teacher
    from kd_experiments.tracking.display import Display
    from kd_experiments.training import devices

    typed = readable(overrides)
    refuse(typed)
    config, display = check(composed(typed)), Display()
    if config.teacher.table in ("memory", "off"):
        raise UserError(
            f"teacher.table={config.teacher.table}: such a table ends with its process, there is nothing to fill in "
            f"advance; give teacher.table=disk"
        )
    device = devices.pick(config.device)
    devices.make_deterministic(device, config.threads, config.precision)
    data = load(config.dataset, config.label_noise, config.data_folder).to(device)
    if data.views is None:
        raise UserError(
            f"dataset={data.name}: its augmentation has no end of views, so no table can hold them; the teacher "
            f"answers while the student trains"
        )
    needs = DISTILLERS[config.method.distiller].needs
    with memory_told(config):
        teacher = obtain_teacher(config, data, display)
        source = teacher.tabulated("embedding" if needs == "embedding" else "logits", keep=True)
        started, count, samples = time.perf_counter(), data.views.count, len(data.train)
        for done in range(1, count + 1):
            source.answers(torch.full((samples,), done - 1, device=data.device))
            if done == count or done % max(1, count // 50) == 0:
                pace = _pace(source.asked / (time.perf_counter() - started), (count - done) * samples)
                display.note(f"view {done} of {count}: {done * samples:,} rows, {pace}")
    display.note(f"filled: what {teacher.settings.network} says about every view is in {teacher.folder}")


def _pace(rate: float, open_rows: int) -> str:
    """How many rows a second are asked for, and how long that takes at most: some may be there already."""
    return f"{rate:,.0f} a second, {open_rows / rate:,.0f} s left at most" if rate else "all there already"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
