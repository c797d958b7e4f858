"""Being asked to stop: SIGTERM, as schedulers send it before they kill, and Ctrl-C.

The first signal lets the step that is being trained finish, so that it can be kept; elsewhere it ends the program at
once, like the second one does. Files are never halves, so that either way the same command goes on. A process whose
workers do the jobs of a sweep passes the signal on, and waits until no job works any more.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Stopped(BaseException):
    """Somebody asked the program to stop; not an `Exception`, so that nobody takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = int(number)
        self.exit_code = EXIT_CODES[signal.Signals(number)]

    def __reduce__(self) -> tuple[type[Stopped], tuple[int]]:
        """A launcher's worker hands it to the process that started it."""
        return Stopped, (self.number,)


_asked: int | None = None  # the signal that came
_training = False
_is_worker = False
_a_job_works: Callable[[], bool] | None = None


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Inside, the two signals raise `Stopped`, at once or after the step; handlers of a launcher's own stay."""
    global _asked
    stop_if_asked()
    usual: dict[int, tuple[Any, ...]] = {
        signal.SIGTERM: (signal.SIG_DFL, _between_jobs),
        signal.SIGINT: (signal.SIG_DFL, signal.default_int_handler, _between_jobs),
    }
    is_main = threading.current_thread() is threading.main_thread()  # handlers can be set nowhere else
    before = {
        number: signal.getsignal(number)
        for number, handlers in usual.items()
        if is_main and signal.getsignal(number) in handlers
    }
    for number in before:
        signal.signal(number, _on_signal)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if before and not _is_worker:  # which ends with its sweep
            _asked = None


@contextlib.contextmanager
def between_steps() -> Iterator[None]:
    """Inside, a signal waits for `stop_if_asked`."""
    global _training
    _training = True
    try:
        yield
    finally:
        _training = False


def is_asked() -> bool:
    """Has a signal come?"""
    return _asked is not None


def stop_if_asked() -> None:
    """Raise `Stopped` if a signal has come."""
    if _asked is not None:
        raise Stopped(_asked)


def sweeping(a_job_works: Callable[[], bool]) -> None:
    """Jobs of a sweep begin, perhaps in workers of this process; `a_job_works` tells whether one has not ended."""
    global _a_job_works
    _a_job_works = a_job_works


def in_worker() -> None:
    """In a process of joblib's, which does one job after another: a signal stops its jobs, not the process.

    Without it joblib would kill all others of its processes, in the middle of a step. Does nothing elsewhere.
    """
    global _is_worker
    if _is_joblibs(multiprocessing.current_process()) and threading.current_thread() is threading.main_thread():
        _is_worker = True
        for number in EXIT_CODES:
            signal.signal(number, _between_jobs)


def _is_joblibs(process: object) -> bool:
    return type(process).__name__.startswith("Loky")


def _between_jobs(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked = number


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _asked
    again, _asked = _asked is not None, number
    if _is_worker and again:  # from the group of processes, and passed on
        return
    workers = [child for child in multiprocessing.active_children() if _is_joblibs(child)]
    if again:
        for worker in workers:
            worker.kill()
        os._exit(EXIT_CODES[signal.Signals(number)])
    if workers:
        for worker in workers:
            if worker.pid is not None:
                os.kill(worker.pid, number)
        while _a_job_works is not None and _a_job_works():
            time.sleep(0.1)
    if not _training:
        raise Stopped(number)
