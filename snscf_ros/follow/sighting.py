# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Describes what is known of the target after one image."""

from __future__ import annotations

import math
from dataclasses import dataclass

from snscf_core import TrackState

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Sighting:
    """Says where the target was in an image.

    target_id: empty if nothing is followed.
    stamp: of the image, in seconds of the ROS clock; 0 if the camera gives none.
    score: probability that the box is right.
    direction: unit vector to the target in the optical frame (x right, y down, z forward); NaN if unknown.
    width, height: angles between the box's sides in radians; NaN if unknown.
    silent: whether the camera gives no images.
    """

    target_id: str
    stamp: float
    state: TrackState = TrackState.LOST
    score: float = 0.0
    direction: Vector = (math.nan, math.nan, math.nan)
    width: float = math.nan
    height: float = math.nan
    silent: bool = False

    @property
    def has_direction(self) -> bool:
        """Return whether the direction is a unit vector."""
        return all(map(math.isfinite, self.direction)) and abs(math.hypot(*self.direction) - 1.0) < 0.01


def angles(direction: Vector, camera_yaw: float, camera_pitch: float) -> tuple[float, float]:
    """Return the angles to a direction of the optical frame as the robot sees them: to the left, and downwards.

    camera_yaw, camera_pitch: where the camera looks, to the left and downwards; radians.
    """
    right, down, forward = direction
    c, s = math.cos(camera_pitch), math.sin(camera_pitch)
    ahead, below = c * forward - s * down, s * forward + c * down
    left = math.remainder(math.atan2(-right, ahead) + camera_yaw, 2 * math.pi)
    return left, math.atan2(below, math.hypot(right, ahead))
