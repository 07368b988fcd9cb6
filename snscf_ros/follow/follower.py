# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns sightings of the target into velocities that a robot may always carry out."""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from snscf_core import TrackState
from snscf_ros.follow.estimate import Estimate
from snscf_ros.follow.limiter import STEP, Limiter, Limits
from snscf_ros.follow.permission import Reason, reasons
from snscf_ros.follow.scan import Scan
from snscf_ros.follow.settings import FollowSettings
from snscf_ros.follow.sighting import Sighting, angles

_LONGEST = 0.1  # s by which one command may go on from the one before it
_AT_REST = 1e-6  # rad/s or m/s


class Mode(enum.IntEnum):
    """Says what the follower does; the values are those of FollowStatus."""

    WAITING = 0
    FOLLOWING = 1
    SLOWED = 2
    STOPPING = 3
    SCANNING = 4
    GAVE_UP = 5


class Velocity(NamedTuple):
    """Asks a robot to move, in its own frame. Each is 0 where the output has no such axis.

    forward: m/s.
    turn: rad/s to the left, of the robot or of a gimbal's pan.
    tilt: rad/s downwards, of a gimbal.
    """

    forward: float = 0.0
    turn: float = 0.0
    tilt: float = 0.0


@dataclass(frozen=True)
class Order:
    """Holds a command and what it comes from.

    reasons: all that keeps the robot from moving; empty while it follows.
    notes: what keeps it from driving while it turns.
    age: of the image in seconds; NaN if unknown.
    left, down: angles to the target in radians; distance in metres; NaN if unknown.
    """

    velocity: Velocity
    mode: Mode
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    target_id: str
    age: float
    left: float
    down: float
    distance: float


class Follower:
    """Follows one target. Times are in seconds: `clock` is ROS's, which may jump; `steady` never goes back."""

    def __init__(self, settings: FollowSettings) -> None:
        self.enabled = settings.enabled
        self._settings = settings
        turn = Limits(
            -settings.max_turn_rate, settings.max_turn_rate, settings.max_turn_acceleration, settings.max_turn_jerk
        )
        drive = Limits(-settings.max_reverse_speed, settings.max_speed, settings.max_acceleration, settings.max_jerk)
        self._turn, self._tilt, self._drive = Limiter(turn), Limiter(turn), Limiter(drive)
        self._limiters = (self._drive, self._turn, self._tilt)
        response = settings.response_time
        self._left = Estimate(settings.max_turn_rate, response)
        self._down = Estimate(settings.max_turn_rate, response)
        self._range = Estimate(settings.max_speed, response)
        self._estimates = (self._range, self._left, self._down)
        self._scan = Scan(settings)
        self._sighting: Sighting | None = None
        self._came = -math.inf  # steady time of the newest sighting
        self._wanted = settings.target_id
        self._positions: deque[tuple[str, float, float]] = deque(maxlen=32)  # id, stamp, horizontal distance
        self._size: float | None = None  # angle when it began
        self._distance_known = False
        self._went = 0.0  # where it was last, and where it went in the second after; positive to the left
        self._advanced: float | None = None  # steady time until which the limiters have gone on
        self._stopping: tuple[float, tuple[float, ...]] | None = None  # since when, from which speeds

    def enable(self, on: bool) -> None:
        """Allow it to move, or stop it. Allowing it chooses the target anew."""
        self.enabled = on
        self._wanted = self._settings.target_id
        self._begin_anew()

    def see_position(self, target_id: str, stamp: float, distance: float) -> None:
        """Take the horizontal distance to a target in metres, in the image of that stamp in seconds."""
        if math.isfinite(distance) and distance > 0:
            self._positions.append((target_id, stamp, distance))

    def see(self, sighting: Sighting, clock: float, steady: float) -> None:
        """Take a sighting that comes now."""
        self._sighting, self._came = sighting, steady
        age = clock - sighting.stamp
        if self._why_not(clock, steady):
            return
        if not self._wanted:
            self._wanted = sighting.target_id
        if sighting.state == TrackState.TRACKED:
            self._scan.end()
        taken = steady - max(age, 0.0)
        left, down = angles(sighting.direction, self._settings.camera_yaw, self._settings.camera_pitch)
        self._left.see(left, taken)
        self._down.see(down, taken)
        self._went = left + self._left.rate
        distance = self._distance(sighting, down, clock)
        self._distance_known = distance is not None
        if distance is not None:
            self._range.see(distance - self._settings.distance, taken)

    def command(self, clock: float, steady: float) -> Order:
        """Return what the robot is to do now. Call it at the rate at which commands are sent."""
        why_not = self._why_not(clock, steady)
        steps = self._steps(steady)
        if not why_not:
            self._stopping = None
            mode, notes = self._follow(steps, steady)
        else:
            notes = []
            mode = self._search(why_not, steps, steady) or self._stop(steady)
        for estimate, limiter in zip(self._estimates, self._limiters, strict=True):
            if limiter.speed == 0 and why_not:
                estimate.forget()
        return self._order(mode, why_not, notes, clock, steady)

    # --- what it knows ---

    def _why_not(self, clock: float, steady: float) -> list[Reason]:
        sighting = self._sighting
        age = clock - sighting.stamp if sighting else math.nan
        return reasons(self._settings, self.enabled, self._wanted, sighting, age, steady - self._came)

    def _distance(self, sighting: Sighting, down: float, clock: float) -> float | None:
        """Return the horizontal distance to the target in metres; None if it is not known."""
        settings = self._settings
        level = math.cos(down)
        if settings.distance_from == "height" and 0 < sighting.height < math.pi:
            return level * settings.target_height / 2 / math.tan(sighting.height / 2)
        if settings.distance_from == "angle" and sighting.width > 0 and sighting.height > 0:
            size = math.sqrt(sighting.width * sighting.height)
            self._size = self._size or size
            return settings.distance * self._size / size
        if settings.distance_from == "position":
            known = [one for one in self._positions if one[0] == sighting.target_id]
            if known and 0 <= clock - known[-1][1] <= settings.max_age:
                return known[-1][2]
        return None

    # --- what it does ---

    def _follow(self, steps: int, steady: float) -> tuple[Mode, list[Reason]]:
        assert self._sighting is not None
        settings = self._settings
        slowed = self._sighting.state == TrackState.UNCERTAIN
        share = settings.uncertain_speed if slowed else 1.0
        left = self._left.error(steady) or 0.0
        turn = _proportional(left, settings.turn_gain, settings.dead_band_angle) + self._left.rate
        self._advance(1, _bounded(turn, share * settings.max_turn_rate), steps, steady)
        notes: list[Reason] = []
        if settings.output == "gimbal":
            down = self._down.error(steady) or 0.0
            tilt = _proportional(down, settings.tilt_gain, settings.dead_band_angle) + self._down.rate
            self._advance(2, _bounded(tilt, share * settings.max_turn_rate), steps, steady)
        elif settings.distance_from != "none":
            speed = 0.0
            too_far = self._range.error(steady) if self._distance_known else None
            if too_far is None:
                notes.append(Reason("no_distance", "the distance to the target is not known, so it only turns"))
            elif abs(left) < settings.drive_within:
                ahead = math.cos(left)
                speed = ahead * (
                    _proportional(too_far, settings.drive_gain, settings.dead_band_distance) + self._range.rate
                )
                speed = min(max(speed, -share * settings.max_reverse_speed), share * settings.max_speed)
            else:
                notes.append(Reason("beside", "the target is far from the middle, so it turns first"))
            self._advance(0, speed, steps, steady)
        return (Mode.SLOWED if slowed else Mode.FOLLOWING), notes

    def _search(self, why_not: list[Reason], steps: int, steady: float) -> Mode | None:
        """Look around for a target that is lost, and lost alone; return None if that is not to be done."""
        codes = {reason.code for reason in why_not}
        if not self._settings.scan or codes != {"lost"}:
            if codes & {"not_enabled", "no_target", "other_target"}:
                self._scan.end()
            return None
        self._scan.begin(steady, self._went)
        if self._scan.over(steady):
            return Mode.GAVE_UP if self._stop(steady) == Mode.WAITING else Mode.STOPPING
        rate = self._scan.rate(steady)
        if rate == 0:
            return None
        self._stopping = None
        # it looks around on the spot
        self._drive.hold(0.0)
        self._tilt.hold(0.0)
        self._scan.turned(self._advance(1, rate, steps, steady))
        return Mode.SCANNING

    def _stop(self, steady: float) -> Mode:
        """Stop at once, or within `stop_time`."""
        if self._stopping is None:
            self._stopping = steady, tuple(limiter.speed for limiter in self._limiters)
        since, speeds = self._stopping
        limit = self._settings.stop_time
        share = max(1.0 - (steady - since) / limit, 0.0) if limit > 0 else 0.0
        for limiter, speed in zip(self._limiters, speeds, strict=True):
            limiter.hold(share * speed)
        return Mode.STOPPING if share > 0 and any(abs(speed) > _AT_REST for speed in speeds) else Mode.WAITING

    def _advance(self, axis: int, wanted: float, steps: int, steady: float) -> float:
        covered = self._limiters[axis].advance(wanted, steps)
        # driving forward makes the distance smaller, and turning to the left the angle to the left
        self._estimates[axis].told.add(steady, covered)
        return covered

    def _steps(self, steady: float) -> int:
        """Return by how many steps the limiters go on now. After a pause it is not made up for."""
        if self._advanced is None:
            self._advanced = steady
        gap = min(max(steady - self._advanced, 0.0), _LONGEST)
        steps = int(gap / STEP + 1e-6)
        self._advanced = steady - gap + steps * STEP
        return steps

    def _begin_anew(self) -> None:
        self._size = None
        self._scan.end()
        for estimate in self._estimates:
            estimate.forget()

    def _order(self, mode: Mode, why_not: list[Reason], notes: list[Reason], clock: float, steady: float) -> Order:
        sighting = self._sighting
        left, down, too_far = (estimate.error(steady) for estimate in (self._left, self._down, self._range))
        return Order(
            Velocity(*(limiter.speed for limiter in self._limiters)),
            mode,
            tuple(why_not),
            tuple(notes),
            sighting.target_id if sighting else "",
            clock - sighting.stamp if sighting and sighting.stamp else math.nan,
            math.nan if left is None else left,
            math.nan if down is None else down,
            math.nan if too_far is None else too_far + self._settings.distance,
        )


def _proportional(error: float, gain: float, dead_band: float) -> float:
    beyond = abs(error) - dead_band
    return math.copysign(gain * beyond, error) if beyond > 0 else 0.0


def _bounded(value: float, most: float) -> float:
    return min(max(value, -most), most)
