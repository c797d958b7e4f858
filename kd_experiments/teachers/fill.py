"""Fill a teacher's view table wholly, so that no student run of a logit method ever loads the teacher."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from kd_experiments.cli.composing import composed
from kd_experiments.config import check
from kd_experiments.data.load import load
from kd_experiments.errors import UserError
from kd_experiments.teachers.obtain import obtain
from kd_experiments.tracking.display import Display
from kd_experiments.training import devices

USAGE = """\
python -m kd_experiments.teachers fill [KEY=VALUE ...]

Asks the teacher about every view of every training image and keeps the answers. The keys are those of a run: dataset,
teacher, label_noise, paths.results, device and so on; a teacher that is not there is trained first. May be interrupted
and asked again, and several processes may fill one table at the same time.

  python -m kd_experiments.teachers fill experiment=cifar100/resnet56_resnet20
  python -m kd_experiments.teachers fill dataset=fashion_mnist teacher=resnet32 teacher.table_dtype=float16
"""


def fill(overrides: Sequence[str], display: Display | None = None) -> None:
    """Fill the table of the teacher that a run with these overrides would ask."""
    display = display or Display()
    config = check(composed(overrides))
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
            f"dataset={config.dataset.name}: its augmentation has no end of views, so no table can hold them; "
            f"the teacher answers while the student trains"
        )
    teacher = obtain(config, data, display)
    source = teacher.tabulated(keep=True)
    started, count, samples = time.perf_counter(), data.views.count, len(data.train)
    for view in range(count):
        source.answers(torch.full((samples,), view, device=device))
        done = view + 1
        if done == count or done % max(1, count // 10) == 0:
            seconds = time.perf_counter() - started
            left = seconds / done * (count - done)
            display.note(f"view {done} of {count}: {done * samples:,} rows, {seconds:.0f} s, {left:.0f} s left")
    display.note(f"filled: {config.teacher.network}'s logits on every view are in {teacher.folder}")
