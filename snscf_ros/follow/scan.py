# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looks around for a lost target: first to where it went, then to the other side, and so on."""

from __future__ import annotations

from snscf_ros.follow.settings import FollowSettings


class Scan:
    """Turns from side to side for some time.

    begun: when the target was lost, in seconds; None while nothing is looked for.
    """

    def __init__(self, settings: FollowSettings) -> None:
        self._settings = settings
        self.begun: float | None = None
        self._turned = 0.0
        self._side = 1.0

    def begin(self, time: float, side: float) -> None:
        """Prepare to look around, unless that has begun. side: positive if the target went to the left."""
        if self.begun is None:
            self.begun, self._turned = time, 0.0
            self._side = -1.0 if side < 0 else 1.0

    def end(self) -> None:
        """Stop looking around."""
        self.begun = None

    def over(self, time: float) -> bool:
        """Return whether it has looked around for long enough."""
        settings = self._settings
        return self.begun is not None and time - self.begun > settings.scan_after + settings.scan_time

    def rate(self, time: float) -> float:
        """Return the turn rate to look around with, rad/s to the left; 0 before and after."""
        if self.begun is None or time - self.begun < self._settings.scan_after or self.over(time):
            return 0.0
        if self._turned * self._side >= self._settings.scan_angle:
            self._side = -self._side
        return self._side * self._settings.scan_rate

    def turned(self, angle: float) -> None:
        """Note by how much the robot has been turned, rad to the left."""
        self._turned += angle
