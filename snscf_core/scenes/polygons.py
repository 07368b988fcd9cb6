# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures polygons: the exact truth of a scene."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Box = tuple[float, float, float, float]
"""(x, y, w, h) in pixels."""


def tight_box(outline: Array, frame_size: tuple[int, int]) -> Box:
    """Returns the bounds (x, y, w, h) of the part of a polygon inside the frame; NaN if no part is inside."""
    points = outline
    for axis, limit, keep in ((0, 0, 1), (0, frame_size[0], -1), (1, 0, 1), (1, frame_size[1], -1)):
        following = np.roll(points, -1, axis=0)
        here, there = keep * (points[:, axis] - limit), keep * (following[:, axis] - limit)
        crossing = (here < 0) != (there < 0)
        share = here[crossing] / (here[crossing] - there[crossing])
        cuts = points[crossing] + share[:, None] * (following[crossing] - points[crossing])
        # The order does not matter for the bounds, but for the crossings of the next side.
        order = np.concatenate([np.flatnonzero(here >= 0), np.flatnonzero(crossing) + 0.5])
        points = np.concatenate([points[here >= 0], cuts])[np.argsort(order, kind="stable")]
        if len(points) == 0:
            return math.nan, math.nan, math.nan, math.nan
    low, high = points.min(axis=0), points.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def area(outline: Array) -> float:
    following = np.roll(outline, -1, axis=0)
    return abs(float((outline[:, 0] * following[:, 1] - outline[:, 1] * following[:, 0]).sum())) / 2
