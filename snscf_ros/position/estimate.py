# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes the position of a target in the camera's optical frame, with the covariance that its errors amount to.

Three ways: by its depth, by its known size, or as the place where the direction to it meets a plane. Each is a function
of the box and of one more number. The covariance follows from the errors of all of these to first order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from snscf_ros.position.depth import TargetDepth
from snscf_ros.position.rigid import Array, Rigid

Box = tuple[float, float, float, float]
# turns N x 2 points of the image into N x 3 unit vectors; NaN where the lens has no direction
Directions = Callable[[Array], Array]

# m, by which the ground is not flat
_PLANE_ERROR = 0.03
# a position whose distance is less certain than this share of it says nothing
_WORST = 0.5
# below this angle to the plane, something that stands on it is seen from the side
_STEEP = math.radians(60)


class PositionUnknown(LookupError):
    """No position can be computed for a target; the text says why."""


class Errors(NamedTuple):
    """Standard deviations of what a position is computed from.

    box: of centre x, centre y, width and height, in pixels.
    direction: of every direction, rad: the camera's calibration and mount.
    depth: of a depth of 1 m, in metres; it grows with the square of the depth.
    size: of the target's known size, as a share of it.
    """

    box: Array
    direction: float
    depth: float
    size: float


@dataclass(frozen=True, eq=False)
class Position:
    """Where a target is.

    point: (3,) metres. covariance: 3 x 3, square metres. source: depth, size or plane.
    """

    point: Array
    covariance: Array
    source: str

    def moved(self, transform: Rigid) -> Position:
        """Return the position in another frame."""
        rotation = transform.rotation
        return Position(transform(self.point), rotation @ self.covariance @ rotation.T, self.source)


def by_depth(directions: Directions, box: Box, depth: TargetDepth, errors: Errors) -> Position:
    """Compute the position of the visible surface from its depth along the optical axis. Raises PositionUnknown."""

    def point(centre: Array, size: Array, turn: Array, extra: float) -> Array:
        ray = turned(directions(centre[None])[0], turn)
        return ray / ray[2] * extra

    if not directions(_centre(box)[None])[0, 2] > 0.1:
        raise PositionUnknown("the target is too far from the optical axis for a depth along it")
    deviation = math.hypot(errors.depth * depth.metres**2, depth.relief)
    return _propagated(point, box, depth.metres, deviation, errors, "depth")


def by_size(directions: Directions, box: Box, width: float, height: float, errors: Errors) -> Position:
    """Compute the position of the middle from the known width and height (m; 0: not known) by the angular size.

    Where both are known, each counts by its certainty. Raises PositionUnknown.
    """
    if not (width > 0 or height > 0):
        raise PositionUnknown("neither target_width nor target_height is set")
    relative = errors.box[2:] / np.maximum(box[2:], 1e-9)
    weights = np.array([width > 0, height > 0]) / relative**2
    weights = weights / weights.sum()

    def point(centre: Array, size: Array, turn: Array, extra: float) -> Array:
        half = size / 2
        sides = [(-half[0], 0), (half[0], 0), (0, -half[1]), (0, half[1])]
        rays = directions(centre + np.array([(0, 0), *sides]))
        angles = [2 * math.atan2(np.linalg.norm(a - b), np.linalg.norm(a + b)) for a, b in (rays[1:3], rays[3:5])]
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = np.array([width, height]) * extra / (2 * np.tan(np.array(angles) / 2))
        distance = float(sum(w * d for w, d in zip(weights, distances, strict=True) if w > 0))
        return turned(rays[0], turn) * distance

    return _propagated(point, box, 1.0, errors.size, errors, "size")


def by_plane(directions: Directions, box: Box, plane: Rigid, stands: bool, errors: Errors) -> Position:
    """Compute where the direction to the target meets a plane.

    plane: takes points of the plane's frame, whose x and y axes lie in it, to the optical frame.
    stands: whether the target stands on the plane. Then the middle of the box's lower edge is taken for the foot, and
    the position is that of the target's middle above it. Otherwise the middle itself is in the plane.
    Raises PositionUnknown where the direction does not meet the plane, or at too small an angle.
    """
    origin, up = plane.shift, plane.rotation[:, 2]

    def point(centre: Array, size: Array, turn: Array, extra: float) -> Array:
        foot = centre + np.array([0.0, size[1] / 2]) * stands
        lower, middle = (turned(ray, turn) for ray in directions(np.array([foot, centre])))
        place = _met(lower, up, float(up @ origin) + extra)
        if not stands or abs(float(lower @ up)) > math.sin(_STEEP):
            return _met(middle, up, float(up @ origin) + extra)
        wall = lower - (lower @ up) * up
        return _met(middle, wall, float(wall @ place))

    position = _propagated(point, box, 0.0, _PLANE_ERROR, errors, "plane")
    distance = float(np.linalg.norm(position.point))
    along = position.point / distance
    if math.sqrt(float(along @ position.covariance @ along)) > _WORST * distance:
        raise PositionUnknown("the direction to the target meets the plane at too small an angle")
    return position


def turned(rays: Array, turn: Array) -> Array:
    """Return rays (3,) turned by small angles (rad) about two axes at right angles to them."""
    if not turn.any():
        return rays
    first = np.cross(rays, np.eye(3)[int(np.argmin(np.abs(rays)))])
    first = first / np.linalg.norm(first)
    return np.asarray(cv2.Rodrigues(turn[0] * first + turn[1] * np.cross(rays, first))[0] @ rays)


def _centre(box: Box) -> Array:
    return np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])


def _met(ray: Array, normal: Array, offset: float) -> Array:
    """Return where a ray meets the plane `normal @ point = offset`; NaN if behind the camera."""
    down = float(ray @ normal)
    distance = offset / down if abs(down) > 1e-9 else -1.0
    return ray * (distance if distance > 0 else math.nan)


def _propagated(
    point: Callable[[Array, Array, Array, float], Array],
    box: Box,
    extra: float,
    extra_deviation: float,
    errors: Errors,
    source: str,
) -> Position:
    """Compute a position and its covariance.

    point: of the box's centre and size (pixels), two small angles, and one more number.
    """
    values = np.concatenate([_centre(box), box[2:], [0.0, 0.0, extra]])
    deviations = np.concatenate([errors.box, [errors.direction, errors.direction, extra_deviation]])

    def at(numbers: Array) -> Array:
        return point(numbers[:2], np.maximum(numbers[2:4], 1e-3), numbers[4:6], float(numbers[6]))

    found = at(values)
    # half a deviation: a slope over the range that matters
    steps = 0.5 * deviations
    columns = [(at(values + step) - at(values - step)) for step in np.diag(steps)]
    if not (np.isfinite(found).all() and np.isfinite(columns).all()):
        raise PositionUnknown(f"the {source} gives no position for this direction")
    # a difference over one deviation: what one deviation of that number amounts to
    jacobian = np.array(columns).T
    return Position(found, jacobian @ jacobian.T, source)
