# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes the directions to the targets from the calibrations that the cameras publish."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2

from snscf_ros.camera_model import Bearing, CalibrationError, CameraModel, content
from snscf_ros.node.cameras import phrase
from snscf_ros.node.events import TrackedFrame
from snscf_ros.node.parameters import Settings

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo


@dataclass(frozen=True)
class _Known:
    """A calibration, the values that it was made from, and what is wrong with it if it is None."""

    made_from: tuple[Any, ...]
    calibration: CameraModel | None
    problem: str


class Bearings:
    """Keeps each camera's calibration. `received` and the other methods may be called from different threads."""

    def __init__(self, settings: Callable[[], Settings], warn: Callable[[str], None]) -> None:
        """Start without a calibration. warn: called once with each new problem."""
        self._settings = settings
        self._warn = warn
        self._infos: dict[str, CameraInfo] = {}
        self._known: dict[str, _Known] = {}
        self._reported: dict[str, str] = {}

    def received(self, camera: str, info: CameraInfo) -> None:
        """Keep a camera's calibration, which mostly is the same as before."""
        self._infos[camera] = info

    def of(self, result: TrackedFrame) -> dict[str, Bearing]:
        """Return the directions to the targets of one frame by their ids, as far as they are known."""
        info = self._infos.get(result.camera)
        if info is None or result.frame is None or not result.targets:
            return {}
        known = self._calibration(result.camera, info)
        problem = known.problem
        bearings: dict[str, Bearing] = {}
        if known.calibration is not None:
            height, width = result.frame.shape[:2]
            try:
                for target in result.targets:
                    if (bearing := known.calibration.bearing(target.track.box, width, height)) is not None:
                        bearings[target.target_id] = bearing
            except CalibrationError as reason:
                problem = str(reason)
            except cv2.error as error:
                problem = f"OpenCV cannot compute with the calibration: {error.err}"
        self._report(result.camera, problem)
        return bearings

    def calibration(self, camera: str) -> CameraModel | None:
        """Return a camera's calibration; None where it has sent none, or none that can be used."""
        info = self._infos.get(camera)
        return None if info is None else self._calibration(camera, info).calibration

    def state(self, camera: str) -> str:
        """Describe a camera's calibration for the diagnostics: known, none, or what is wrong with it."""
        if camera not in self._infos:
            return "none"
        return self._reported.get(camera) or "known"

    def _calibration(self, camera: str, info: CameraInfo) -> _Known:
        made_from = (self._settings().rectified, *content(info))
        known = self._known.get(camera)
        if known is None or known.made_from != made_from:
            try:
                known = _Known(made_from, CameraModel(info, self._settings().rectified), "")
            except CalibrationError as reason:
                known = _Known(made_from, None, str(reason))
            self._known[camera] = known
        return known

    def _report(self, camera: str, problem: str) -> None:
        if problem and problem != self._reported.get(camera):
            self._warn(f"no bearings for {phrase(camera)}: {problem}")
        self._reported[camera] = problem
