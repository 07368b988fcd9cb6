# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lets a speed change only so fast: limits of speed, acceleration and jerk that hold in every step."""

from __future__ import annotations

import math
from dataclasses import dataclass

STEP = 0.005  # s; the limits hold between any two of these steps


@dataclass(frozen=True)
class Limits:
    """Bounds a speed, in a unit of length or angle U.

    lowest, highest: U/s; zero lies between them.
    acceleration: U/s². jerk: U/s³.
    """

    lowest: float
    highest: float
    acceleration: float
    jerk: float


class Limiter:
    """Follows a wanted speed within limits.

    speed: U/s now.
    """

    def __init__(self, limits: Limits) -> None:
        self.speed = 0.0
        self._limits = limits
        self._acceleration = 0.0

    def advance(self, wanted: float, steps: int) -> float:
        """Go on by some steps of `STEP` seconds towards a speed, and return the distance covered, in U.

        A wanted speed that is no number counts as 0.
        """
        limits, covered = self._limits, 0.0
        wanted = min(max(wanted, limits.lowest), limits.highest) if math.isfinite(wanted) else 0.0
        jump = limits.jerk * STEP
        for _ in range(steps):
            best = _steepest(wanted - self.speed, jump)
            best = min(max(best, -limits.acceleration), limits.acceleration)
            self._acceleration = min(max(best, self._acceleration - jump), self._acceleration + jump)
            # the limit of the speed holds without this but for rounding
            self.speed = min(max(self.speed + self._acceleration * STEP, limits.lowest), limits.highest)
            covered += self.speed * STEP
        return covered

    def hold(self, speed: float) -> None:
        """Have this speed from now on, without acceleration: 0 is a stop at once."""
        self.speed, self._acceleration = speed or 0.0, 0.0  # and not -0.0


def _steepest(gap: float, jump: float) -> float:
    """Return the greatest acceleration that can still end at 0, when the speed has changed by `gap`.

    jump: what the acceleration can change in a step.
    """
    # with an acceleration a, n jumps high, the speed goes on to change by a + (a - jump) + ... + (a - n jump), in steps
    steps = abs(gap) / STEP
    n = math.floor((math.sqrt(1 + 8 * steps / jump) - 1) / 2)
    return math.copysign((steps + jump * n * (n + 1) / 2) / (n + 1), gap)
