# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rotates and shifts points from one frame of reference to another."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rigid:
    """A rotation (3 x 3) and then a shift (3 values, m): takes points of one frame to those of another."""

    rotation: Array
    shift: Array

    @staticmethod
    def identity() -> Rigid:
        return Rigid(np.eye(3), np.zeros(3))

    @staticmethod
    def from_quaternion(quaternion: tuple[float, float, float, float], shift: tuple[float, float, float]) -> Rigid:
        """Make one from a quaternion (x, y, z, w) of any length and a shift in metres.

        Raises ValueError if a number is not finite or the quaternion is zero.
        """
        x, y, z, w = quaternion
        length = float(np.linalg.norm(quaternion))
        if not (np.isfinite(quaternion).all() and np.isfinite(shift).all() and length > 1e-6):
            raise ValueError(f"quaternion {quaternion} and translation {shift} make no transform")
        x, y, z, w = (value / length for value in quaternion)
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        return Rigid(rotation, np.array(shift, np.float64))

    @property
    def quaternion(self) -> tuple[float, float, float, float]:
        """Return the rotation as a unit quaternion (x, y, z, w)."""
        vector = cv2.Rodrigues(self.rotation)[0][:, 0]
        angle = float(np.linalg.norm(vector))
        x, y, z = vector * (np.sin(angle / 2) / angle if angle > 1e-12 else 0.5)
        return (float(x), float(y), float(z), float(np.cos(angle / 2)))

    def __call__(self, points: Array) -> Array:
        """Return N x 3 points, or one point, in the other frame."""
        return np.asarray(points @ self.rotation.T + self.shift)

    def __matmul__(self, first: Rigid) -> Rigid:
        """Return what does `first` and then this."""
        return Rigid(self.rotation @ first.rotation, self(first.shift))

    @property
    def inverse(self) -> Rigid:
        return Rigid(self.rotation.T, -self.rotation.T @ self.shift)


def between(a: Rigid, b: Rigid, share: float) -> Rigid:
    """Return what is that share of the way from `a` to `b`; beyond 1 the movement goes on as before."""
    turn = cv2.Rodrigues(a.rotation.T @ b.rotation)[0]
    return Rigid(a.rotation @ cv2.Rodrigues(turn * share)[0], a.shift + share * (b.shift - a.shift))


def facing(direction: Array, up: Array) -> Array:
    """Return the 3 x 3 rotation whose x axis points along `direction`, level: at right angles to `up`, which is z.

    Where the direction is that of `up`, x is any level axis.
    """
    z = up / np.linalg.norm(up)
    x = direction - (direction @ z) * z
    if np.linalg.norm(x) < 1e-9:
        x = np.cross(z, np.eye(3)[int(np.argmin(np.abs(z)))])
    x = x / np.linalg.norm(x)
    return np.column_stack([x, np.cross(z, x), z])
