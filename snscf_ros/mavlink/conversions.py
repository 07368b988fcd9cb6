# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Converts between MAVLink's fractions of the image and the tracker's pixels, and between their states."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pymavlink.dialects.v20 import common as dialect

from snscf_core import TrackState
from snscf_ros.messages import Box

Corners = tuple[float, float, float, float]


def point_in_pixels(params: Sequence[float], size: tuple[int, int]) -> tuple[float, float]:
    """Return the point (x, y) in pixels of one in fractions of the image.

    params: of MAV_CMD_CAMERA_TRACK_POINT: x, y, ...
    size: width and height of the image in pixels.
    Raises ValueError for what is not from 0 to 1.
    """
    x, y = _fractions(("x", "y"), params)
    # the right and the lower edge belong to the last pixel
    return min(x * size[0], size[0] - 1.0), min(y * size[1], size[1] - 1.0)


def box_in_pixels(params: Sequence[float], size: tuple[int, int]) -> Box:
    """Return the box (x, y, w, h) in pixels of a rectangle in fractions of the image.

    params: of MAV_CMD_CAMERA_TRACK_RECTANGLE: x, y of two opposite corners, ...
    size: width and height of the image in pixels.
    Raises ValueError for what is not from 0 to 1, or a rectangle without area.
    """
    x0, y0, x1, y1 = _fractions(("left", "top", "right", "bottom"), params)
    if x0 == x1 or y0 == y1:
        raise ValueError("the rectangle has no area")
    left, top = min(x0, x1) * size[0], min(y0, y1) * size[1]
    return left, top, abs(x1 - x0) * size[0], abs(y1 - y0) * size[1]


def corners_in_fractions(box: Box, size: tuple[int, int]) -> Corners | None:
    """Return left, top, right and bottom of a box in fractions of the image, as far as it is inside.

    Returns None for a box that is not, or is not known.
    """
    x, y, w, h = box
    width, height = size
    if not all(map(math.isfinite, box)) or width <= 0 or height <= 0:
        return None
    left, right = (min(max(value / width, 0.0), 1.0) for value in (x, x + w))
    top, bottom = (min(max(value / height, 0.0), 1.0) for value in (y, y + h))
    return (left, top, right, bottom) if left < right and top < bottom else None


def tracking_status(state: int, coasting: bool) -> int:
    """Return MAVLink's status of a target's state. coasting: whether the ground station knows that flag."""
    if state == TrackState.TRACKED:
        return int(dialect.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE)
    if state == TrackState.UNCERTAIN:
        flag = dialect.CAMERA_TRACKING_STATUS_FLAGS_COASTING if coasting else 0
        return int(dialect.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE | flag)
    return int(dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR)


def _fractions(names: Sequence[str], values: Sequence[float]) -> list[float]:
    found = []
    for name, value in zip(names, values, strict=False):
        if not 0.0 <= value <= 1.0:  # NaN is not, either
            raise ValueError(f"{name} is {value:g}, must be from 0 to 1")
        found.append(float(value))
    return found
