"""Signals: one lets the step finish, the second ends at once, and no worker of a sweep ends the others."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kd_experiments import stopping
from kd_experiments.cli.arguments import answered
from kd_experiments.training import parallel
from kd_experiments.training.session import train_in


class LokyProcess:
    """What joblib calls its workers."""

    pid = 1234

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


@pytest.mark.parametrize("number", stopping.EXIT_CODES)
def test_a_worker_hands_on_why_it_stopped(number: signal.Signals) -> None:
    again = pickle.loads(pickle.dumps(stopping.Stopped(number)))
    assert (again.exit_code, str(again)) == (stopping.EXIT_CODES[number], number.name)


@pytest.mark.parametrize("number", stopping.EXIT_CODES)
def test_every_command_stops_in_a_sentence(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    def action() -> int:
        signal.raise_signal(number)
        raise AssertionError("it goes on")

    for _ in range(2):  # it is forgotten afterwards
        assert answered(action, []) == stopping.EXIT_CODES[number]
        assert capsys.readouterr().err == "stopped; the same command goes on from where it was\n"


def test_the_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the first one has raised `Stopped` already: whatever cleans up is not waited for."""

    def ended(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", ended)
    with pytest.raises(SystemExit) as end, stopping.listening():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
    assert end.value.code == 143


def test_workers_of_a_sweep_finish_their_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are told, and waited for; the second signal ends them, too."""
    sent: list[tuple[int, int]] = []
    working = iter([True, True, False])
    monkeypatch.setattr(multiprocessing, "active_children", lambda: [LokyProcess(), SimpleNamespace(pid=1)])
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(stopping, "_a_job_works", lambda: next(working))
    with pytest.raises(stopping.Stopped), stopping.listening():
        signal.raise_signal(signal.SIGTERM)
    assert sent == [(1234, signal.SIGTERM)] and not list(working)

    def ended(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", ended)
    monkeypatch.setattr(stopping, "_a_job_works", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(SystemExit), stopping.listening():
        signal.raise_signal(signal.SIGTERM)
    assert sent[-1] == (1234, signal.SIGKILL)


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process does one job after another."""
    before = {number: signal.getsignal(number) for number in stopping.EXIT_CODES}
    monkeypatch.setattr(multiprocessing, "current_process", LokyProcess)
    monkeypatch.setattr(stopping, "_is_worker", False)
    monkeypatch.setattr(stopping, "_asked", None)
    stopping.in_worker()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("worker")
def test_a_signal_ends_a_workers_jobs_and_never_the_worker() -> None:
    with pytest.raises(stopping.Stopped), stopping.listening():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)  # to the group of processes, and passed on
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(stopping.Stopped), stopping.listening():
        raise AssertionError("the next job begins")


@pytest.mark.usefixtures("worker")
def test_a_signal_between_two_jobs_stops_the_next() -> None:
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(stopping.Stopped), stopping.listening():
        raise AssertionError("the next job begins")


@pytest.mark.parametrize(("asked", "error"), [(True, stopping.Stopped), (False, RuntimeError)])
def test_of_several_processes_one_stops_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool, error: type[BaseException]
) -> None:
    """The others then wait in vain for what it would have sent: that is no failure."""

    def alone(*arguments: object) -> None:
        if asked:
            signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(parallel, "processes", lambda: 2)
    training: Any = SimpleNamespace(run=alone, learners=[SimpleNamespace(result=None)])
    with stopping.listening(), pytest.raises(error):
        train_in(
            tmp_path,
            training,
            evaluate=dict,
            snapshots_after=(),
            on_restored=lambda history: None,
            on_epoch=lambda row: None,
        )
    assert not list(tmp_path.iterdir()), "several processes have finished different steps"
