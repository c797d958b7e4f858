"""The check of a GPU, its parts on the CPU: the same functions, with a tape in the place of CUDA graphs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from bench import check_gpu
from bench.check_gpu import Line, Place, in_a_process, main, part, summary
from kd_experiments.cli.choices import methods
from kd_experiments.tracking.machine import machine
from kd_experiments.training import devices
from tests.training.tape import TapeRecorder

pytestmark = pytest.mark.slow  # whole runs, many times over

CPU = torch.device("cpu")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(check_gpu, "IMAGES", 64)
    monkeypatch.setattr(check_gpu, "BATCH", 8)
    monkeypatch.setattr(check_gpu, "PAIR", ("resnet8", "resnet8"))
    return Place(CPU, tmp_path, lambda device: TapeRecorder())


def ended(name: str, place: Place) -> Line:
    """How a part went; every line it gave names it."""
    *lines, last = part(name, place)
    assert all(line["part"] == name for line in lines)
    return last


def test_steps_are_compared_method_by_method(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    some = [method for method in methods() if method.name in ("kd", "fitnet", "rkd", "crd")]
    monkeypatch.setattr(check_gpu, "methods", lambda: some)
    *lines, last = part("steps", place)
    assert [line["checked"] for line in lines] == [method.name for method in some]
    assert last["outcome"] == "ok", last


def test_a_step_that_replays_otherwise_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_gpu, "methods", lambda: [method for method in methods() if method.name in ("kd", "dkd")])
    monkeypatch.setattr(check_gpu.capture, "alike", lambda *tensors: False)
    last = ended("steps", place)
    assert last["outcome"] == "failed" and "kd (" in last["note"] and "dkd (" in last["note"]


@pytest.mark.parametrize("name", ["precisions", "tables", "resume"])
def test_runs_on_a_device(name: str, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "computes_bfloat16", lambda device: True)
    last = ended(name, place)
    assert last["outcome"] == "ok", last


def test_two_runs_at_a_time(place: Place) -> None:
    last = ended("sharing", place)
    assert last["outcome"] == "ok", last


def test_what_a_machine_lacks_is_skipped(place: Place) -> None:
    last = ended("memory", place)
    assert last["outcome"] == "skipped" and "a CPU's not" in last["note"]


def test_a_part_that_fails_is_named_and_the_others_go_on(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(place: Place) -> Iterator[Line]:
        yield {"checked": "one thing", "ok": True, "note": ""}
        raise RuntimeError("CUDA error: an illegal memory access\nwith details")

    def doubts(place: Place) -> Iterator[Line]:
        yield {"checked": "this", "ok": False, "note": "0.1 apart"}

    monkeypatch.setattr(check_gpu, "PARTS", {"breaks": (breaks, 1), "doubts": (doubts, 1)})
    lines = [line for name in check_gpu.PARTS for line in part(name, place)]
    ends = {line["part"]: line for line in lines if "outcome" in line}
    assert ends["breaks"]["outcome"] == ends["doubts"]["outcome"] == "failed"
    assert ends["breaks"]["note"] == "RuntimeError: CUDA error: an illegal memory access"
    assert ends["doubts"]["note"] == "this"
    told = summary(lines, asdict(machine(CPU)))
    assert "| breaks | failed |" in told and "| doubts | failed |" in told


def test_a_process_that_dies_or_hangs_is_a_part_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "python"
    monkeypatch.setattr(sys, "executable", str(script))
    dies, hangs = ("echo words; kill -9 $$", 60, "ended with code -9"), ("sleep 60", 1, "not done after 1 s")
    for body, seconds, why in (dies, hangs):
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)
        (line,) = in_a_process("steps", seconds)
        assert line["outcome"] == "failed" and why in line["note"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["check_gpu"])
    assert main() == 0
    assert "no GPU here" in capsys.readouterr().out
