"""Being asked to stop: SIGTERM, as schedulers send it before they kill, and Ctrl-C.

The first signal lets the step that is being trained finish, so that it can be kept; elsewhere it ends the program at
once, like the second one does. Files are never halves, so that either way the same command goes on.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

EXIT_CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}


class Stopped(BaseException):
    """Somebody asked the program to stop; not an `Exception`, so that nobody takes it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = EXIT_CODES[signal.Signals(number)]


_asked: int | None = None  # the signal that came during a training
_training = False


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Inside, the two signals raise `Stopped`, at once or after the step; handlers of a launcher's own stay."""
    global _asked
    usual = {signal.SIGTERM: (signal.SIG_DFL,), signal.SIGINT: (signal.SIG_DFL, signal.default_int_handler)}
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
        if before:
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


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _asked
    if _asked is not None:  # the second time
        os._exit(EXIT_CODES[signal.Signals(number)])
    if not _training:
        raise Stopped(number)
    _asked = number
