# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures a run: the time in training steps, and the means of its losses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from .processes import Processes

MEASURED = ("loss", "classification", "box", "ridge", "overlap", "gradient")
LINE, INTERVAL = 0, 1  # rows of a `Tally`


class Tally:
    """Adds up `MEASURED` on the device, without waiting for it: since the last line (0) and the last interval (1).

    sums: 2 x 8. Behind `MEASURED` stand the numbers of steps with a finite gradient, and of all steps.
    """

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(2, len(MEASURED) + 2, device=device)

    def add(self, values: Tensor) -> None:
        """Adds 8 values of one step, as `learner.Learner.step` returns them, to both rows."""
        self.sums += values

    def take(self, row: int, processes: Processes) -> dict[str, float]:
        """Returns the means over the steps with a finite gradient, and starts the row anew.

        ``finite`` and ``steps`` are the numbers of such steps and of all. Waits for the device and other processes.
        """
        *sums, finite, steps = processes.mean(self.sums[row]).tolist()
        self.sums[row] = 0
        means = {name: value / finite if finite else float("nan") for name, value in zip(MEASURED, sums, strict=True)}
        return {**means, "finite": finite, "steps": steps}


class StepClock:
    """Adds up wall time in training steps. The device may lag by a few steps; over many steps that evens out.

    spent: seconds in training steps, over all slices of the run.
    """

    def __init__(self, device: torch.device) -> None:
        self.spent = 0.0
        self._line = 0.0  # seconds since the last line of the log, compilation included
        self._device = device
        self._from = time.monotonic()

    def start(self) -> None:
        """Begins to count now."""
        self._from = time.monotonic()

    def count(self) -> None:
        """Adds the time since the last call, or since ``start``."""
        now = time.monotonic()
        seconds, self._from = now - self._from, now
        self.spent += seconds
        self._line += seconds

    def count_exactly(self) -> None:
        """Waits until the device has finished the steps so far, then counts."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.count()

    def take_line(self) -> float:
        """Returns the seconds in training steps since the last call."""
        self.count()
        seconds, self._line = self._line, 0.0
        return seconds

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves out the time in the ``with`` block."""
        self.count_exactly()
        yield
        self.start()
