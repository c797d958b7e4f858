"""What a view table on disk adds to a process's resident memory, relative to the table's size."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import torch

from bench.material import Material
from bench.measurement import Measurement, Setting
from kd_experiments.places import PACKAGE

PAIR = ("resnet8", "resnet8")  # a cheap teacher: what a row costs in memory does not depend on who wrote it


class Observed(TypedDict):
    """Bytes a process has in memory before there is a table and after each epoch, by kind; and the table's on disk."""

    before: dict[str, int]
    after: list[dict[str, int]]
    table_bytes: int


def figures(setting: Setting) -> Iterator[Measurement]:
    with tempfile.TemporaryDirectory() as folder:
        yield of_images(Path(folder), 16_000, 2 if setting.quick else 5)


def of_images(folder: Path, images: int, epochs: int) -> Measurement:
    """One process fills the rows of some epochs, a fresh one reads them."""
    written, read = (_in_fresh_process(folder, images, epochs) for _ in range(2))
    size = read["table_bytes"]
    parts = {
        f"{who}_{kind}_MB": [(now[kind] - said["before"][kind]) / 1e6 for now in said["after"]]
        for who, said in (("filling", written), ("reading", read))
        for kind in ("VmRSS", "RssAnon", "RssFile")
    }
    grown = [(now["VmHWM"] - read["before"]["VmRSS"]) / size * 100 for now in read["after"]]
    parts["reading_peak_percent"] = grown
    return Measurement(
        name="table_memory",
        about="resident memory a table on disk adds to a process that reads it, at its peak, over the table's size",
        setting=f"{images} images, 162 views, {epochs} epochs, a table of {size / 1e9:.2f} GB",
        unit="%",
        better="lower",
        target=10.0,
        values=[max(grown)],
        parts=parts,
        note="VmRSS counts the file's pages, which the system may take back (RssFile), and the process's own (RssAnon)",
    )


def _in_fresh_process(folder: Path, images: int, epochs: int) -> Observed:
    command = [sys.executable, "-m", "bench.memory", str(folder), str(images), str(epochs)]
    done = subprocess.run(command, cwd=PACKAGE.parent, stdout=subprocess.PIPE, text=True, check=True)
    said: Observed = json.loads(done.stdout.splitlines()[-1])
    return said


def resident() -> dict[str, int]:
    """Bytes of this process in memory: all, the most since `forget_peak`, its own, and of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM", "RssAnon", "RssFile")}


def forget_peak() -> None:
    """Let VmHWM start anew; Linux keeps this switch."""
    Path("/proc/self/clear_refs").write_text("5")


def observe(folder: Path, images: int, epochs: int) -> Observed:
    """Resident memory before there is a table and after each epoch's look-ups."""
    subject = Material(folder, images).subject(PAIR, torch.device("cpu"), "teacher.table=disk")
    data = subject.data
    with torch.inference_mode():  # what the network itself takes belongs to no table
        subject.teacher.network(next(data.evaluation_batches(data.val, 500)))
    forget_peak()
    before, after = resident(), []
    source = subject.teacher.tabulated("logits")
    for epoch in range(epochs):
        views = data.epoch_views(0, epoch)
        assert views is not None
        source.begin_epoch(views, False)
        after.append(resident())
    assert data.views is not None
    size = max(path.stat().st_size for path in subject.teacher.folder.iterdir())
    if size < len(data.train) * data.views.count * data.classes:
        raise RuntimeError(f"{subject.teacher.folder}: no file is as large as the table should be")
    return {"before": before, "after": after, "table_bytes": size}


if __name__ == "__main__":
    print(json.dumps(observe(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
