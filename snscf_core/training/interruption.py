# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Catches the signals that ask a run to end, so that it can write a checkpoint first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Signals:
    """Remembers whether SIGTERM or SIGINT arrived."""

    received = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.received = True


@contextmanager
def caught_signals() -> Iterator[Signals]:
    """Catches SIGTERM and SIGINT inside the ``with`` block, and restores their handlers after it."""
    signals = Signals()
    # Only the main thread may set handlers.
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before = {number: signal.signal(number, signals) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
