# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tells the tracker where the camera's own turning has moved what it follows, so that it is found again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np

from snscf_ros.camera_model import CalibrationError, CameraModel
from snscf_ros.node.position.inputs import BEYOND_IMAGE, Transforms
from snscf_ros.position.rigid import Array, Rigid
from snscf_ros.position.transform_buffer import TransformMissing
from snscf_ros.target_registry import FollowedTarget

Point = tuple[float, float]


class CameraTurns:
    """Remembers how the camera was turned when each target was last looked for. Used by one thread."""

    def __init__(
        self, transforms: Transforms, fixed_frame: str, calibration: Callable[[str], CameraModel | None]
    ) -> None:
        """Start without a target.

        fixed_frame: one that does not turn with the camera; empty if none is known, and then nothing is moved.
        calibration: of a camera by its name; None where not known.
        """
        self._transforms = transforms
        self._fixed_frame = fixed_frame
        self._calibration = calibration
        self._turned: dict[int, tuple[str, Array]] = {}  # camera and rotation, by the target's start

    def carry(self, camera: str, frame_id: str, stamp_ns: int, followed: Iterable[FollowedTarget]) -> None:
        """Move the targets as the camera has turned up to the image of that stamp.

        The turn of a target begins at the image in which the tracker last looked for it. Without such an image, or
        without the camera's orientation, the targets stay.
        """
        model, place = self._calibration(camera), self._place(frame_id, stamp_ns)
        before = {start: turned for start, (name, turned) in self._turned.items() if name == camera}
        self._turned = {start: one for start, one in self._turned.items() if one[0] != camera}
        if model is None or place is None:
            return
        for one in followed:
            self._turned[one.start] = (camera, place.rotation)
            if one.start in before:
                turn = place.rotation.T @ before[one.start]
                one.target.carry(functools.partial(_moved, model, one.target.frame_size, turn))

    def _place(self, frame_id: str, stamp_ns: int) -> Rigid | None:
        if not self._fixed_frame or not stamp_ns:
            return None
        try:
            return self._transforms.find(self._fixed_frame, frame_id, stamp_ns, BEYOND_IMAGE)
        except TransformMissing:
            return None


def _moved(model: CameraModel, size: tuple[int, int], turn: Array, place: Point) -> Point:
    """Return where a far point is seen after a turn; the same place where that is not known.

    turn: 3 x 3, from the optical frame before to that after it.
    """
    try:
        rays = model.directions(np.array([place]), *size) @ turn.T
        x, y = model.points(rays, *size)[0]
    except CalibrationError:
        return place
    return (float(x), float(y)) if np.isfinite([x, y]).all() else place
