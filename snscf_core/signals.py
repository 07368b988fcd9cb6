# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ends commands at a signal by an exception, so that what is done is kept and the rest is cleaned up."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption(KeyboardInterrupt):
    """Ends a command because a signal asked for it.

    number: of the signal.
    kept: a sentence about what is done and where it is; the interrupted command sets it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.kept = number, ""

    def __str__(self) -> str:
        return f"ended by {signal.Signals(self.number).name}" + (f"; {self.kept}" if self.kept else "")


@contextmanager
def interruptions() -> Iterator[None]:
    """Raises `Interruption` in the main thread at SIGINT, SIGTERM or SIGHUP, unless that signal is ignored (nohup).

    A second signal ends the process at once. Outside the main thread signals are left as they are.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: handler for number in _ENDING if (handler := signal.getsignal(number)) != signal.SIG_IGN}

    def end(number: int, frame: FrameType | None) -> None:
        for other in before:
            signal.signal(other, signal.SIG_DFL)
        raise Interruption(number)

    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def keeping(sentence: str) -> Iterator[None]:
    """Lets an `Interruption` of the ``with`` block say what is kept, unless it says so already."""
    try:
        yield
    except Interruption as ended:
        ended.kept = ended.kept or sentence
        raise


@contextmanager
def without_signals() -> Iterator[None]:
    """Blocks the signals that end a command, for this process and for those that it starts meanwhile.

    A terminal sends SIGINT to all processes of a command, but the workers are to be ended by the process that started
    them. They inherit the block and keep it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
