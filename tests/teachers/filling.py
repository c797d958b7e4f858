"""What a process of its own does in `test_view_table`; it imports no more than that takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from kd_experiments.data.label_noise import NoNoise
from kd_experiments.data.load import DatasetConfig, load
from kd_experiments.networks import build
from kd_experiments.teachers.frozen import TabulatedTeacher
from kd_experiments.teachers.view_table import DiskTable, TableKind


def fill_in_a_process(path: Path, asked: Any, started: Any) -> None:
    """Answer all views of a digits table with a network that counts what it is asked."""
    torch.set_num_threads(1)
    digits = load(DatasetConfig("digits", None, False, 1100, 0.15, 0, 1, False, None, None), NoNoise(), Path("unused"))
    assert digits.views is not None
    torch.manual_seed(0)
    network = build("resnet8", classes=10, channels=1, size=8).eval()
    kind = TableKind("t", len(digits.train), digits.views.count, "pad1", 10, "float32")
    table = DiskTable(path, kind, torch.device("cpu"))
    put = table.put

    def counted(samples: torch.Tensor, views: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        with asked.get_lock():
            asked.value += len(samples)
        return put(samples, views, said)

    table.put = counted  # type: ignore[method-assign]
    source = TabulatedTeacher(lambda: network, [table], digits)
    started.wait()
    for view in range(digits.views.count):
        source.answers(torch.full((len(digits.train),), view))
