# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Follows how one target moves, in the world where that is known, and extrapolates it to a given time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from snscf_ros.position.estimate import Box, Directions, Position
from snscf_ros.position.kalman import ConstantVelocity, Moving
from snscf_ros.position.rigid import Array, Rigid
from snscf_ros.stamps import SECOND

# of the direction to the target, rad/s²: as seen from a frame that does not turn with the camera, and from the camera
_ANGULAR_ACCELERATION = {True: 0.5, False: 1.5}
_ANGULAR_SPEED = 0.5  # rad/s, at the start
_SPEED = 1.5  # m/s, at the start
# of the logarithm of the box's sides, 1/s² and 1/s
_GROWTH = (0.3, 0.2)
# of the box's centre in pixels, in sizes of the box, where no calibration is known
_PIXEL_ACCELERATION = 4.0
_PIXEL_SPEED = 2.0
# of a unit vector's length, which means nothing
_RADIAL = 1e-4
_SOON = 0.02  # s; over which angular rates are taken
# What covers a target first covers a side of it: its box shrinks to the other side, and the target seems to move there.
# So what was seen in this time before it was lost is not believed.
_COVERED = SECOND // 2

Points = Callable[[Array], Array]  # from N x 3 directions to N x 2 points of the image
Camera = Callable[[int], Rigid]  # from the optical frame to that of the motion, at a time in nanoseconds


class Sighting(NamedTuple):
    """One image in which a target was found.

    box: top-left (x, y, w, h). deviations: of its centre x, centre y, width and height, in pixels.
    directions: of the camera; None where its calibration is not known.
    direction_error: standard deviation of all directions, rad.
    camera: from the optical frame to the frame of the motion.
    position: in the frame of the motion; None where it is not known.
    """

    stamp_ns: int
    box: Box
    deviations: Array
    directions: Directions | None
    direction_error: float
    camera: Rigid
    position: Position | None


class Prediction(NamedTuple):
    """What is expected of a target at one time.

    box: top-left (x, y, w, h). box_covariance: 4 x 4 of (centre x, centre y, width, height), square pixels.
    direction: unit vector in the optical frame; None where no calibration is known, and so with the next two.
    angles: azimuth (right), elevation (up) and their rates; rad, rad/s. angle_covariance: 4 x 4.
    moving: position and velocity in the frame of the motion; None where they are not known.
    """

    box: Box
    box_covariance: Array
    direction: Array | None
    angles: Array | None
    angle_covariance: Array | None
    moving: Moving | None


class TargetMotion:
    """Follows one target in a frame in which it moves evenly. Not locked: its owner guards it."""

    def __init__(self, fixed: bool, acceleration: float) -> None:
        """Start without a sighting.

        fixed: whether the frame of the motion does not move with the camera.
        acceleration: of the target, as standard deviation of the change of its velocity within a second; m/s².
        """
        self._fixed, self._acceleration = fixed, acceleration
        self._forget()

    def _forget(self) -> None:
        self._place = ConstantVelocity(self._acceleration, _SPEED)
        self._sight = ConstantVelocity(_ANGULAR_ACCELERATION[self._fixed], _ANGULAR_SPEED)
        self._sizes = ConstantVelocity(*_GROWTH)
        self._centre: ConstantVelocity | None = None
        self._last: Sighting | None = None
        self._found_again = False
        self._before: deque[tuple[int, Any, Any]] = deque()  # what the filters knew in the last moments, by stamp
        self._placed_ns: int | None = None
        self._spread = np.zeros((3, 3))

    @property
    def last(self) -> Sighting | None:
        """Return the last sighting that was taken in."""
        return self._last

    def hidden(self) -> None:
        """Note that the target was not seen, and forget the moments in which it vanished."""
        if self._before:
            _, place, sight = self._before[0]
            self._place.restore(place)
            self._sight.restore(sight)
            self._before.clear()

    def lost(self) -> None:
        """Note the same, and that the target may be found again anywhere."""
        self.hidden()
        self._found_again = True

    def update(self, seen: Sighting) -> bool:
        """Take in a sighting. Return whether its position was near what is expected; False without a position.

        If stamps go back by more than half a second, everything before is forgotten.
        """
        if self._last is not None and self._last.stamp_ns - seen.stamp_ns > SECOND // 2:
            self._forget()
        x, y, w, h = seen.box
        found_again, self._found_again = self._found_again, False
        if self._last is None or seen.stamp_ns >= self._last.stamp_ns:
            self._last = seen
        centre = np.array([x + w / 2, y + h / 2])
        relative = seen.deviations[2:] / (w, h)
        self._sizes.update(seen.stamp_ns, np.log([w, h]), np.diag(relative**2), found_again)
        if self._centre is None:
            side = math.sqrt(w * h)
            self._centre = ConstantVelocity(_PIXEL_ACCELERATION * side, _PIXEL_SPEED * side)
        self._centre.update(seen.stamp_ns, centre, np.diag(seen.deviations[:2] ** 2), found_again)
        if seen.directions is not None and (sight := _sight(seen, centre)) is not None:
            self._sight.update(seen.stamp_ns, *sight, found_again)
        near = self._placed(seen, found_again)
        self._before.append((seen.stamp_ns, self._place.known(), self._sight.known()))
        while len(self._before) > 1 and self._before[1][0] <= seen.stamp_ns - _COVERED:
            self._before.popleft()
        return near

    def _placed(self, seen: Sighting, found_again: bool) -> bool:
        if seen.position is None:
            return False
        near = self._place.update(seen.stamp_ns, seen.position.point, seen.position.covariance, found_again)
        if near:
            self._placed_ns, self._spread = seen.stamp_ns, seen.position.covariance
        return near

    def position_at(self, stamp_ns: int, hold: float) -> Moving | None:
        """Return the expected position and velocity; None without a position in the last `hold` seconds before.

        The errors of positions last for several images, and half of the last one's is added to what the filter finds.
        """
        moving = self._place.at(stamp_ns)
        if moving is None or self._placed_ns is None or abs(stamp_ns - self._placed_ns) > hold * SECOND:
            return None
        covariance = moving.covariance.copy()
        covariance[:3, :3] += self._spread / 2
        return Moving(moving.state, covariance)

    def predict(self, stamp_ns: int, camera: Camera, points: Points | None, hold: float) -> Prediction | None:
        """Return what is expected at a time; None where the target was not found in the last `hold` seconds before.

        camera: where the camera is at a time near that one.
        points: of the camera; None where its calibration is not known.
        """
        if self._last is None or self._centre is None or abs(stamp_ns - self._last.stamp_ns) > hold * SECOND:
            return None
        sizes, centre = self._sizes.at(stamp_ns), self._centre.at(stamp_ns)
        assert sizes is not None and centre is not None
        covariance = np.zeros((4, 4))
        w, h = np.exp(sizes.place)
        covariance[2:, 2:] = np.outer((w, h), (w, h)) * sizes.covariance[:2, :2]
        middle, covariance[:2, :2] = centre.place, centre.covariance[:2, :2]
        position = self.position_at(stamp_ns, hold)
        angles = spread = direction = None
        found = self._seen(stamp_ns, position, camera, points) if points is not None else None
        if found is not None:
            numbers, whole = found
            angles, spread = numbers[2:], whole[2:, 2:]
            azimuth, elevation = angles[:2]
            level = math.cos(elevation)
            direction = np.array([level * math.sin(azimuth), -math.sin(elevation), level * math.cos(azimuth)])
            if np.isfinite(numbers[:2]).all() and np.isfinite(whole[:2, :2]).all():
                middle, covariance[:2, :2] = numbers[:2], whole[:2, :2]
        box = (float(middle[0] - w / 2), float(middle[1] - h / 2), float(w), float(h))
        return Prediction(box, covariance, direction, angles, spread, position)

    def _seen(
        self, stamp_ns: int, position: Moving | None, camera: Camera, points: Points | None
    ) -> tuple[Array, Array] | None:
        """Return centre in pixels, azimuth, elevation and their rates (6,), and their covariance; None if not known."""
        assert points is not None
        moving = position or self._sight.at(stamp_ns)
        if moving is None:
            return None
        now, soon = camera(stamp_ns), camera(stamp_ns + round(_SOON * SECOND))
        shift = 1.0 if position is not None else 0.0  # directions have no origin

        def numbers(state: Array) -> Array:
            ray = (state[:3] - shift * now.shift) @ now.rotation
            later = (state[:3] + _SOON * state[3:] - shift * soon.shift) @ soon.rotation
            first, second = _angles(ray), _angles(later)
            turn = (second - first + math.pi) % (2 * math.pi) - math.pi
            return np.concatenate([points(ray[None])[0], first, turn / _SOON])

        steps = np.diag(1e-4 * np.array([1.0, 1.0, 1.0, 10.0, 10.0, 10.0]))
        columns = []
        for step in steps:
            change = numbers(moving.state + step) - numbers(moving.state - step)
            change[2:4] = (change[2:4] + math.pi) % (2 * math.pi) - math.pi
            columns.append(change / (2 * step.max()))
        jacobian = np.array(columns).T
        return numbers(moving.state), jacobian @ moving.covariance @ jacobian.T


def _angles(ray: Array) -> Array:
    """Return azimuth (to the right) and elevation (up) of a direction in the optical frame, rad."""
    return np.array([math.atan2(ray[0], ray[2]), math.atan2(-ray[1], math.hypot(ray[0], ray[2]))])


def _sight(seen: Sighting, centre: Array) -> tuple[Array, Array] | None:
    """Return the direction to the target as a unit vector in the frame of the motion, and its covariance."""
    assert seen.directions is not None
    dx, dy = seen.deviations[:2] / 2
    rays = seen.directions(centre + np.array([(0, 0), (dx, 0), (-dx, 0), (0, dy), (0, -dy)]))
    if not np.isfinite(rays).all():
        return None
    ray, across, down = rays[0], rays[1] - rays[2], rays[3] - rays[4]
    along = np.outer(ray, ray)
    spread = np.outer(across, across) + np.outer(down, down) + seen.direction_error**2 * (np.eye(3) - along)
    rotation = seen.camera.rotation
    return rotation @ ray, rotation @ (spread + _RADIAL * along) @ rotation.T
