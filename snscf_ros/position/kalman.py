# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Filters a place that moves at a velocity which changes slowly, in any number of dimensions.

filterpy would do the same three lines of algebra; what takes the care here are the stamps, which it leaves to its user.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snscf_ros.position.rigid import Array
from snscf_ros.stamps import SECOND

# stamps that go back by more belong to a clock that was set, or to a recording that starts again
_OUT_OF_ORDER = SECOND // 2
# a measurement is far off if its squared distance in deviations is above this (probability 1e-4 in 3 dimensions)
_FAR = 21.1
# far measurements in a row, so many and for so long, are no outliers: the target is elsewhere
_MOST_FAR = 3
_LONGEST_FAR = SECOND


class Moving(NamedTuple):
    """A place and a velocity, in one vector (2 N,), and their covariance (2 N x 2 N)."""

    state: Array
    covariance: Array

    @property
    def place(self) -> Array:
        return self.state[: len(self.state) // 2]

    @property
    def velocity(self) -> Array:
        return self.state[len(self.state) // 2 :]


class ConstantVelocity:
    """Estimates place and velocity from places with stamps in nanoseconds. Not locked: its owner guards it."""

    def __init__(self, acceleration: float, speed: float, longest_gap: float = 3.0) -> None:
        """Start without a place.

        acceleration: by which the velocity changes within a second, as standard deviation; unit of a place / s².
        speed: standard deviation of the velocity at the start; unit of a place / s.
        longest_gap: seconds without a measurement after which what was known is forgotten.
        """
        self._power, self._speed = acceleration**2, speed
        self._longest_gap = round(longest_gap * SECOND)
        self._moving: Moving | None = None
        self._stamp = 0
        self._far: list[int] = []  # stamps of the far measurements since the last one that was near

    @property
    def stamp_ns(self) -> int | None:
        """Return when the last measurement was taken; None without one."""
        return self._stamp if self._moving is not None else None

    def update(self, stamp_ns: int, place: Array, covariance: Array, found_again: bool = False) -> bool:
        """Take in a place (N,) and its covariance (N x N). Return False if it was left out.

        Left out is what is not finite, older than the last measurement, or far from what is expected: a surface that
        hides the target, mostly. If stamps go back by more than half a second, or all places of a second are far off,
        the filter starts anew.
        found_again: whether the target had been lost before, and so may well be far off.
        """
        if not (np.isfinite(place).all() and np.isfinite(covariance).all()):
            return False
        late = self._stamp - stamp_ns
        if self._moving is None or late > _OUT_OF_ORDER or -late > self._longest_gap:
            self._start(stamp_ns, place, covariance)
            return True
        if late > 0:
            return False
        predicted = self._predicted(self._moving, -late)
        count = len(place)
        innovation = place - predicted.place
        spread = predicted.covariance[:count, :count] + covariance
        gain = np.linalg.solve(spread, predicted.covariance[:count]).T
        if float(innovation @ np.linalg.solve(spread, innovation)) > _FAR:
            self._far.append(stamp_ns)
            lasting = len(self._far) >= _MOST_FAR and stamp_ns - self._far[0] >= _LONGEST_FAR
            if not (found_again or lasting):
                return False
            self._start(stamp_ns, place, covariance)
            return True
        # Joseph's form stays symmetric and positive
        rest = np.eye(2 * count)
        rest[:, :count] -= gain
        self._moving = Moving(
            predicted.state + gain @ innovation,
            rest @ predicted.covariance @ rest.T + gain @ covariance @ gain.T,
        )
        self._stamp, self._far = stamp_ns, []
        return True

    def known(self) -> tuple[Moving | None, int]:
        """Return all that is known, for `restore`."""
        return self._moving, self._stamp

    def restore(self, known: tuple[Moving | None, int]) -> None:
        """Go back to what was known before."""
        self._moving, self._stamp = known
        self._far = []

    def at(self, stamp_ns: int) -> Moving | None:
        """Return what is expected at a time, before the last measurement with its velocity too; None if not known."""
        if self._moving is None:
            return None
        return self._predicted(self._moving, stamp_ns - self._stamp)

    def _start(self, stamp_ns: int, place: Array, covariance: Array) -> None:
        count = len(place)
        state = np.concatenate([place, np.zeros(count)])
        whole = np.zeros((2 * count, 2 * count))
        whole[:count, :count] = covariance
        whole[count:, count:] = np.eye(count) * self._speed**2
        self._moving, self._stamp, self._far = Moving(state, whole), stamp_ns, []

    def _predicted(self, moving: Moving, nanoseconds: int) -> Moving:
        seconds = nanoseconds / SECOND
        count = len(moving.state) // 2
        step = np.eye(2 * count)
        step[:count, count:] = np.eye(count) * seconds
        # a velocity that is disturbed at every moment alike, also on the way back in time
        t = abs(seconds)
        sign = 1.0 if seconds >= 0 else -1.0
        noise = self._power * np.kron(np.array([[t**3 / 3, sign * t**2 / 2], [sign * t**2 / 2, t]]), np.eye(count))
        return Moving(step @ moving.state, step @ moving.covariance @ step.T + noise)
