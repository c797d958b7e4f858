"""Fill a teacher's view table wholly, so that no student run of a logit method ever asks the teacher."""

from __future__ import annotations

import time

import torch

from kd_experiments.errors import UserError
from kd_experiments.teachers.obtain import Teacher
from kd_experiments.teachers.view_table import Holds
from kd_experiments.tracking.display import Display

USAGE = """\
python -m kd_experiments.teachers fill [KEY=VALUE ...]

Asks the teacher about every view of every training image and keeps the answers: logits, and embeddings too with a
method that reads them (rkd, pkt, cc, crd). The keys are those of a run: dataset, teacher, label_noise, paths.results,
device and so on; a teacher that is not there is trained first. May be interrupted and asked again, and several
processes may fill one table at the same time.

  python -m kd_experiments.teachers fill experiment=cifar100/resnet56_resnet20
  python -m kd_experiments.teachers fill dataset=fashion_mnist teacher=resnet32 method=rkd teacher.table_dtype=float16
"""


def fill(teacher: Teacher, display: Display, holds: Holds = "logits") -> None:
    """Fill the table of a teacher, with embeddings that of these too; `UserError` where views have no number."""
    data = teacher.data
    if data.views is None:
        raise UserError(
            f"dataset={data.name}: its augmentation has no end of views, so no table can hold them; the teacher "
            f"answers while the student trains"
        )
    source = teacher.tabulated(holds, keep=True)
    started, count, samples = time.perf_counter(), data.views.count, len(data.train)
    for view in range(count):
        source.answers(torch.full((samples,), view, device=data.device))
        done = view + 1
        if done == count or done % max(1, count // 50) == 0:
            seconds = time.perf_counter() - started
            pace = _pace(source.asked / seconds, (count - done) * samples)
            display.note(f"view {done} of {count}: {done * samples:,} rows, {pace}")
    display.note(f"filled: what {teacher.settings.network} says about every view is in {teacher.folder}")


def _pace(rate: float, open_rows: int) -> str:
    """How many rows a second are asked for, and how long that takes at most: some may be there already."""
    return f"{rate:,.0f} a second, {open_rows / rate:,.0f} s left at most" if rate else "all there already"
