# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the demonstration tells the user: lines, progress, and why it cannot go on."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from tqdm import tqdm

if TYPE_CHECKING:
    from snscf_ros.demo.scores import FrameResult

_LINE_EVERY = 5.0  # s


class DemoError(Exception):
    """Why the demonstration cannot go on, in words for the user."""


def say(text: str) -> None:
    """Print a line for the user."""
    print(f"demo: {text}", file=sys.stderr, flush=True)


class Progress:
    """Shows a bar on a terminal, and elsewhere prints a line every few seconds; used as a context manager."""

    def __init__(self, length: int | None) -> None:
        self._length = length
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(total=length, unit="frame", dynamic_ncols=True, disable=not self._terminal, file=sys.stderr)
        self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, result: FrameResult, rate: float) -> None:
        """Show the state after one frame. rate: frames tracked per second."""
        state, score = "-", "-"
        if result.track is not None:
            state, score = result.track.state.name.lower(), f"{result.track.score:.2f}"
        self._bar.update()
        self._bar.set_postfix(state=state, score=score, tracked=f"{rate:.1f}/s", refresh=False)
        now = time.monotonic()
        if not self._terminal and now - self._last_line > _LINE_EVERY:
            self._last_line = now
            total = f" of {self._length}" if self._length else ""
            say(f"frame {result.number}{total}, {state}, score {score}, {rate:.1f} frames tracked per second")
