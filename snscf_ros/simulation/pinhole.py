# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Projects the world into a pinhole camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# columns: the optical frame's axes (right, down, forward) in a body's (forward, left, up)
_OPTICAL_IN_BODY = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Pinhole:
    """Holds a lens without distortion, whose axis goes through the middle of the picture.

    size: width and height in pixels.
    focal: focal length in pixels.
    """

    size: tuple[int, int]
    focal: float

    @classmethod
    def with_view(cls, size: tuple[int, int], angle: float) -> Pinhole:
        """Make the lens whose picture is `angle` radians wide."""
        return cls(size, size[0] / 2 / math.tan(angle / 2))

    @property
    def matrix(self) -> Array:
        """Return the 3x3 calibration K as `CameraInfo` has it: (0, 0) is the middle of the first pixel."""
        width, height = self.size
        return np.array([[self.focal, 0, width / 2 - 0.5], [0, self.focal, height / 2 - 0.5], [0, 0, 1.0]])

    @property
    def corner_matrix(self) -> Array:
        """Return the same for coordinates in which (0, 0) is the corner of the first pixel, as boxes have them."""
        return self.matrix + np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])


@dataclass(frozen=True)
class Pose:
    """Says where a camera is.

    position: of the camera in the world, (3,).
    rotation: 3x3; turns vectors of the optical frame into the world's.
    """

    position: Array
    rotation: Array

    @classmethod
    def looking(cls, position: npt.ArrayLike, yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Pose:
        """Make the pose of a camera that looks along x at angles 0.

        yaw: to the left. pitch: downwards. roll: right side down.
        """
        cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (math.cos, math.sin))
        about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
        about_y = np.array([[cp, 0, sp], [0, 1.0, 0], [-sp, 0, cp]])
        about_x = np.array([[1.0, 0, 0], [0, cr, -sr], [0, sr, cr]])
        return cls(np.asarray(position, np.float64), about_z @ about_y @ about_x @ _OPTICAL_IN_BODY)

    def to_camera(self, points: npt.ArrayLike) -> Array:
        """Turn world points, N x 3 or (3,), into the optical frame."""
        return np.asarray((np.asarray(points, np.float64) - self.position) @ self.rotation)
