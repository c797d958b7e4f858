"""Runs that are stopped, killed, or find their own files damaged: the same results, and nothing believed."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kd_experiments import files, stopping
from kd_experiments.config import Config, check
from kd_experiments.errors import UserError
from kd_experiments.reporting.__main__ import main as report
from kd_experiments.single_run import run
from kd_experiments.tracking.record import Record, RunFolder
from kd_experiments.training.loop import Training
from tests.conftest import PATIENCE, SOAK, TINY, composed, read_offline_run, records
from tests.reporting.synthetic import several, write

TRACIN = ("method=kd", "selection=tracin", "selection.ratio=0.5", "snapshots=2", "recipe.batch_size=32")


def tiny(results: Path, *overrides: str) -> Config:
    content = composed(*TINY, *overrides)
    content["paths"] = {"results": str(results), "teachers": str(results / "teachers")}
    return check(content)


def content(results: Path) -> dict[str, Any]:
    """What a run leaves, without times and places."""
    found: dict[str, Any] = {}
    for path in sorted(results.glob("*/*/*")):
        name = path.relative_to(results).as_posix()
        if path.suffix == ".pt":
            found[name] = files.load_own(path)["model"]
        elif path.suffix == ".npz":
            found[name] = path.read_bytes()
        elif path.name == "history.csv":
            rows = (files.read_table(path) or "").splitlines()
            keep = [i for i, column in enumerate(rows[0].split(",")) if "second" not in column]
            found[name] = [[row.split(",")[i] for i in keep] for row in rows]
    return found


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        if isinstance(value, dict):
            assert all(torch.equal(tensor, other[name][key]) for key, tensor in value.items()), name
        else:
            assert value == other[name], name


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run leaves that nothing happens to."""
    results = tmp_path_factory.mktemp("undisturbed")
    assert run(tiny(results, *TRACIN)).status == "complete"
    return content(results)


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGTERM, 9),
        *(pytest.param(signal.SIGTERM, step, marks=pytest.mark.slow) for step in (2, 7, 14)),
        pytest.param(signal.SIGINT, 9, marks=pytest.mark.slow),  # one place is enough for the same handler
    ],
)
def test_a_signal_lets_the_step_finish(
    undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: int
) -> None:
    """Of two epochs of 4 steps (the teacher) and two of 7, one is stopped in its middle, and goes on there."""
    steps: list[int] = []
    train_step = Training.train_step

    def counted(self: Training, *arguments: Any) -> torch.Tensor:
        steps.append(1)
        if len(steps) == step:
            signal.raise_signal(number)
        return train_step(self, *arguments)

    monkeypatch.setattr(Training, "train_step", counted)
    with pytest.raises(stopping.Stopped) as stopped:
        run(tiny(tmp_path, *TRACIN))
    assert stopped.value.exit_code == 128 + number and len(steps) == step
    again = run(tiny(tmp_path, *TRACIN))
    assert again.status == "complete" and again.error is None
    assert len(steps) == 22, "no step is done twice"
    assert_same(content(tmp_path), undisturbed)


class Killed(BaseException):
    """Nothing catches it on purpose."""


def break_at(patch: pytest.MonkeyPatch, number: int, error: BaseException) -> list[int]:
    """Let the `number`-th write or rename of a run end in `error`, and all that follow; the list counts them."""
    count: list[int] = []
    flush, replace = os.fsync, os.replace

    def broken(action: Callable[..., None]) -> Callable[..., None]:
        def act(*arguments: Any) -> None:
            count.append(1)
            if len(count) >= number:
                raise error
            action(*arguments)

        return act

    patch.setattr(os, "fsync", broken(flush))
    patch.setattr(os, "replace", broken(replace))
    return count


Count = Callable[[str, object], None]
ENDS = {"killed": Killed(), "no space": OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))}


def ends_at(number: int, kind: str, results: Path, undisturbed: dict[str, Any]) -> bool:
    """Let a run end at its `number`-th write or rename; the next start makes it good. False if it has not as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunFolder, "append_log", lambda self, line: None)
        count = break_at(patch, number, ENDS[kind])
        with contextlib.suppress(Killed, UserError):
            run(tiny(results, *TRACIN))
    (results / "runs").mkdir(parents=True, exist_ok=True)
    # What a killed process leaves is removed by who works there next; once the run is done nobody asks the teacher.
    done = any(record["status"] == "complete" for record in records(results))
    for folder in [*results.glob("runs/*"), *(() if done else results.glob("teachers/*"))]:
        (folder / f".left.{number}.part").write_bytes(b"of a process that was killed while it wrote")
    assert run(tiny(results, *TRACIN)).status == "complete"
    assert_same(content(results), undisturbed)
    assert not list(results.rglob("*.part"))
    return len(count) >= number


def test_a_run_that_is_killed_at_random_writes(undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """The short form of the next, and of random kills."""
    for number in random.Random(0).sample(range(2, 60), 2):
        assert ends_at(number, "killed", tmp_path / str(number), undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDS)
def test_a_run_that_ends_at_any_write(
    undisturbed: dict[str, Any], tmp_path: Path, kind: str, record_property: Count
) -> None:
    """At every write and rename of a run's life, teacher, scores, epochs, snapshots and record: the next start makes it
    good. `make soak` takes each, `make test-slow` a few.
    """
    number, tried = 2, 1
    while ends_at(number, kind, tmp_path / str(number), undisturbed):
        number += 1 if SOAK else 11
        tried += 1
    assert number > 30
    record_property(f"runs that ended at a write or rename ({kind}) and came out bit-identical", tried - 1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ENDS)
def test_a_report_that_ends_at_any_write(tmp_path: Path, kind: str, record_property: Count) -> None:
    """Every file is whole at any moment, and the next report is the one that nothing had happened to."""
    write(tmp_path, *several())
    words = [f"paths.results={tmp_path}", "write=tables", "latex=true"]

    def made() -> dict[str, bytes]:
        found = (path for path in tmp_path.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in found if "runs" not in path.relative_to(tmp_path).parts}

    assert report(words) == 0
    whole, number, ended, tried = made(), 1, False, 0
    while not ended:
        tried += 1
        for path in map(Path, whole):
            path.unlink()
        with pytest.MonkeyPatch.context() as patch:
            count = break_at(patch, number, ENDS[kind])
            with contextlib.suppress(Killed):
                # Only the last flush of a folder may fail without harm: everything is in its place by then.
                assert report(words) == 2 or made() == whole, number
            ended = len(count) < number
        left = {name: content for name, content in made().items() if not name.endswith(".part")}
        assert all(content == whole.get(name) for name, content in left.items()), number
        assert report(words) == 0
        assert made() == whole, number
        number += 1 if SOAK else 13
    assert tried > 2
    record_property(f"reports that ended at a write or rename ({kind}) and came out byte-identical", tried - 1)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of its own. Mounting takes root, which containers and ordinary users do not have."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs root to mount a small disk: there is no other way to a real one that is full")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_real_full_disk(tmp_path: Path) -> None:
    """The first epochs fit; then the disk is filled, and the last checkpoint survives."""
    with small_disk(tmp_path / "disk", "3m") as disk:
        command = [sys.executable, "-m", "kd_experiments", *TINY, f"paths.results={disk}", "method=none"]
        first = subprocess.run(command, capture_output=True, text=True)
        assert first.returncode == 0, first.stderr
        free = shutil.disk_usage(disk).free
        (disk / "ballast").write_bytes(bytes(max(free - 250_000, 0)))
        second = subprocess.run([*command, "seed=1"], capture_output=True, text=True)
        assert second.returncode == 2, second.stderr
        assert second.stderr.count("\n") == 1 and "no space left on the device" in second.stderr
        (disk / "ballast").unlink()
        third = subprocess.run([*command, "seed=1"], capture_output=True, text=True)
        assert third.returncode == 0, third.stderr


@pytest.mark.slow
def test_disks_that_are_enlarged(undisturbed: dict[str, Any], tmp_path: Path, record_property: Count) -> None:
    """Disks that fill up at different moments of a run's life, and are then enlarged: the same command completes it."""
    full = 0
    for size in range(1, 64, 2) if SOAK else (2, 12):  # in units of 128 KiB
        with small_disk(tmp_path / str(size), f"{128 * size}k") as disk:
            try:
                run(tiny(disk, *TRACIN))
                break
            except UserError as error:
                assert "no space left" in str(error)
            full += 1
            subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
            assert run(tiny(disk, *TRACIN)).status == "complete"
            assert_same(content(disk), undisturbed)
            assert not list(disk.rglob("*.part"))
    assert full
    record_property("full disks that were enlarged, after which the run came out bit-identical", full)


@pytest.mark.slow
@pytest.mark.skipif(not SOAK, reason="fifty runs: make soak")
@pytest.mark.parametrize(("tracking", "deaths"), [("disabled", 50), ("offline", 10)])
def test_random_kills(
    undisturbed: dict[str, Any], tmp_path: Path, record_property: Count, tracking: str, deaths: int
) -> None:
    """Processes that die at random moments, each going on where the one before has died, W&B told of it or not."""
    mode = f"tracking.mode={tracking}"
    began = time.perf_counter()
    assert start(tmp_path / "whole", mode).wait() == 0
    takes = time.perf_counter() - began  # of a whole run, however slow the machine is
    generator, kills, lap = random.Random(0), 0, 0
    while kills < deaths:
        lap += 1
        results = tmp_path / str(lap)
        while True:
            process = start(results, mode)
            try:
                limit = generator.uniform(0.1, 1.1) * takes if kills < deaths else PATIENCE
                assert process.wait(timeout=limit) == 0, process.communicate()[1]
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        assert_same(content(results), undisturbed)
        if tracking == "offline":
            (told,) = (results / "wandb").glob("offline-run-*/*.wandb")
            assert [row["epoch"] for row in read_offline_run(told)["history"]] == [0, 1]
    record_property("processes killed at random moments; the runs came out bit-identical", kills)


def start(results: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kd_experiments", *TINY, *TRACIN, f"paths.results={results}", *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_many_starts_of_one_run(undisturbed: dict[str, Any], tmp_path: Path, record_property: Count) -> None:
    """All ask for the same at the same time, one of three is killed: one result, and nobody works twice at once."""
    processes = [start(tmp_path) for _ in range(20 if SOAK else 3)]
    time.sleep(3)
    for process in processes[::3]:
        process.kill()
    said = [process.communicate(timeout=PATIENCE) for process in processes]
    codes = [process.returncode for process in processes]
    assert all(code == 0 for place, code in enumerate(codes) if place % 3), said
    assert_same(content(tmp_path), undisturbed)
    record_property("starts of one run at once, a third of them killed: one result", len(processes))


@pytest.mark.slow
def test_many_starts_with_one_teacher(undisturbed: dict[str, Any], tmp_path: Path, record_property: Count) -> None:
    """Runs of several seeds want the same teacher at the same time, one of three is killed: it is trained once."""
    processes = [start(tmp_path, f"seed={seed}") for seed in range(10 if SOAK else 3)]
    time.sleep(3)
    for process in processes[1::3]:
        process.kill()
    said = [process.communicate(timeout=PATIENCE) for process in processes]
    assert all(process.returncode == 0 for place, process in enumerate(processes) if place % 3 != 1), said
    teachers = {name: value for name, value in content(tmp_path).items() if name.startswith("teachers/")}
    assert_same(teachers, {name: value for name, value in undisturbed.items() if name.startswith("teachers/")})
    record_property("starts that want one teacher, a third of them killed: trained once", len(processes))


DAMAGED = ("teacher.pt", "outputs.npz", "record.json", "scores-*.npz", "snapshot-*.pt")


@pytest.mark.slow
@pytest.mark.parametrize("pattern", DAMAGED)
def test_a_damaged_teacher_is_made_again(
    undisturbed: dict[str, Any], tmp_path: Path, pattern: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(tiny(tmp_path, *TRACIN))
    damaged = next(next((tmp_path / "teachers").iterdir()).glob(pattern))
    whole = bytearray(damaged.read_bytes())
    whole[len(whole) // 2] ^= 1
    damaged.write_bytes(whole)
    for scores in damaged.parent.glob("scores-*.npz") if pattern.startswith("snapshot") else ():
        scores.unlink()  # otherwise nobody needs the snapshots
    (tmp_path / "runs" / first.signature / "record.json").unlink()
    again = run(tiny(tmp_path, *TRACIN))
    assert again.metrics == first.metrics
    assert f"{damaged.name}: damaged" in capsys.readouterr().err
    assert_same(content(tmp_path), undisturbed)
    run(tiny(tmp_path, *TRACIN, "seed=1"))
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("share", np.linspace(0.05, 0.95, 4).tolist())
def test_a_damaged_checkpoint_is_not_believed(
    undisturbed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_record", stop_at_end(files.write_record))
        with pytest.raises(Killed):
            run(tiny(tmp_path, *TRACIN))
    checkpoint = next((tmp_path / "runs").glob("*/checkpoint.pt"))
    whole = bytearray(checkpoint.read_bytes())
    whole[int(share * len(whole))] ^= 4
    checkpoint.write_bytes(whole)
    run(tiny(tmp_path, *TRACIN))
    assert_same(content(tmp_path), undisturbed)


def stop_at_end(write: Callable[[Path, Any], None]) -> Callable[[Path, Any], None]:
    """Killed before the record says that the run is complete: its last checkpoint is still there."""

    def stopped(path: Path, record: Any) -> None:
        if isinstance(record, Record) and record.status == "complete":
            raise Killed
        write(path, record)

    return stopped


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_out_of_memory_says_what_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def full(self: Training, *arguments: Any) -> torch.Tensor:
        raise error

    monkeypatch.setattr(Training, "train_step", full)
    with pytest.raises(
        UserError, match=r"out of memory on cpu: resnet8, batches of 64 images; lower recipe.batch_size"
    ):
        run(tiny(tmp_path, "method=none"))
