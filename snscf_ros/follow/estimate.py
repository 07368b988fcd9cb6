# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Estimates where the target is by now from late sightings: as if the robot had done all that it has been told."""

from __future__ import annotations

import bisect
import math

_KEPT = 5.0  # s for which is known what the robot was told
_POSITION_GAIN, _RATE_GAIN = 0.6, 0.15  # of an alpha-beta filter
_LONGEST_GAP = 1.0  # s between two sightings; after a longer one the rate is not known


class Told:
    """Adds up the angle, or the distance, of all commands to the robot."""

    def __init__(self) -> None:
        self._times: list[float] = [-math.inf]
        self._sums: list[float] = [0.0]

    @property
    def total(self) -> float:
        """Return all of it until now."""
        return self._sums[-1]

    def add(self, time: float, amount: float) -> None:
        """Add what was covered until `time` in seconds. A time before the one before counts as that one."""
        self._times.append(max(time, self._times[-1]))
        self._sums.append(self._sums[-1] + amount)
        if self._times[1] < time - 2 * _KEPT:
            first = bisect.bisect_left(self._times, time - _KEPT)
            del self._times[:first], self._sums[:first]

    def until(self, time: float) -> float:
        """Return the sum at a time; the oldest known one for times before."""
        return self._sums[max(bisect.bisect_right(self._times, time) - 1, 0)]


class Estimate:
    """Estimates one error, such as the angle to the target, and how fast the target changes it.

    rate: of the target alone, without what the robot does; U/s.
    """

    def __init__(self, highest_rate: float, response: float) -> None:
        """Know nothing yet.

        highest_rate: more is not believed of the target, U/s.
        response: seconds until the robot has carried out a command.
        """
        self.told = Told()
        self._response = response
        self.rate = 0.0
        self._highest = highest_rate
        self._place: float | None = None  # of the target, counted from where the robot began
        self._time = 0.0

    def forget(self) -> None:
        """Begin anew."""
        self._place, self.rate = None, 0.0

    def see(self, error: float, time: float) -> None:
        """Take an error that was measured at a time, in seconds of the clock of `told`."""
        place = error + self.told.until(time - self._response)
        gap = time - self._time
        if self._place is None or not 0 <= gap <= _LONGEST_GAP:
            self._place, self.rate = place, 0.0
        elif gap > 0:
            missed = place - (self._place + self.rate * gap)
            self._place += self.rate * gap + _POSITION_GAIN * missed
            self.rate += _RATE_GAIN * missed / gap
            self.rate = min(max(self.rate, -self._highest), self._highest)
        self._time = time

    def error(self, time: float) -> float | None:
        """Return the error at a time, when the robot has done what it has been told; None if none is known."""
        if self._place is None:
            return None
        return self._place + self.rate * min(max(time - self._time, 0.0), _LONGEST_GAP) - self.told.total
