# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns pixels into directions and back: where a target is as seen from the camera, by the camera's calibration.

Directions are unit vectors in the optical frame (x right, y down, z forward) that the image's `frame_id` names. Lenses:
none, `plumb_bob`, `rational_polynomial` (OpenCV's `undistortPoints`) and `equidistant` (OpenCV's fisheye model).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from sensor_msgs.msg import CameraInfo

Box = tuple[float, float, float, float]
_Rays = npt.NDArray[np.float64]

# how many coefficients OpenCV's models take
_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_SAME_SHAPE = 0.01  # relative difference of aspect ratios up to which an image of another size counts as scaled
_CLOSE = 0.5  # px of the calibrated image by which a direction, projected back, may miss its pixel
_ITERATIONS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-9)


class CalibrationError(ValueError):
    """A CameraInfo yields no directions; the text says why."""


@dataclass(frozen=True)
class Bearing:
    """The direction to a box.

    direction: unit vector to its centre.
    angular_width, angular_height: angles between its sides in radians; NaN where unknown.
    """

    direction: tuple[float, float, float]
    angular_width: float
    angular_height: float


class CameraModel:
    """The lens of one camera, from its CameraInfo.

    rectified: whether the images have been rectified. Directions then follow from P without distortion, and are in
    the rectified frame, to which ROS gives the same name.
    Raises CalibrationError.
    """

    def __init__(self, info: CameraInfo, rectified: bool = False) -> None:
        matrix = np.array(info.p, np.float64).reshape(3, 4)[:, :3] if rectified else np.array(info.k).reshape(3, 3)
        model, coefficients = ("", np.zeros(0)) if rectified else (info.distortion_model, np.array(info.d, np.float64))
        if not (np.isfinite(matrix).all() and np.isfinite(coefficients).all()):
            raise CalibrationError("the calibration holds numbers that are not finite")
        if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise CalibrationError(
                f"the camera is not calibrated: its focal lengths are {matrix[0, 0]:g}, {matrix[1, 1]:g}"
            )
        if not coefficients.any() and model != "equidistant":
            model = ""
        self._matrix, self._model = matrix.astype(np.float64), model
        self._coefficients = _completed(model, coefficients) if model else np.zeros(0)
        roi, binning = info.roi, (max(1, info.binning_x), max(1, info.binning_y))
        # a region of interest without a size means the whole picture
        whole = not (roi.width and roi.height)
        self._offset = (0.0, 0.0) if whole else (float(roi.x_offset), float(roi.y_offset))
        calibrated = (info.width, info.height) if whole else (roi.width, roi.height)
        if not (calibrated[0] and calibrated[1]):
            raise CalibrationError(f"the calibration is of images of {calibrated[0]} x {calibrated[1]} pixels")
        self._extent = (float(calibrated[0]), float(calibrated[1]))
        self._binned = (calibrated[0] // binning[0], calibrated[1] // binning[1])

    def check_size(self, width: int, height: int) -> None:
        """Raise CalibrationError unless images of that size show what the calibrated ones show, scaled or not."""
        ratio = (width / self._extent[0]) / (height / self._extent[1])
        if (width, height) != self._binned and abs(math.log(ratio)) > _SAME_SHAPE:
            w, h = self._binned
            raise CalibrationError(f"images are {width} x {height}, but the calibration is of {w} x {h}")

    def bearing(self, box: Box, width: int, height: int) -> Bearing | None:
        """Return the direction to a top-left (x, y, w, h) box in an image of that size; None where the lens has none.

        Raises CalibrationError as `check_size` does.
        """
        x, y, w, h = box
        points = np.array(
            [(x + w / 2, y + h / 2), (x, y + h / 2), (x + w, y + h / 2), (x + w / 2, y), (x + w / 2, y + h)]
        )
        centre, left, right, top, bottom = self.directions(points, width, height)
        if np.isnan(centre).any():
            return None
        return Bearing((float(centre[0]), float(centre[1]), float(centre[2])), _angle(left, right), _angle(top, bottom))

    def directions(self, points: _Rays, width: int, height: int) -> _Rays:
        """Return N x 3 unit vectors to N x 2 points of an image of that size, counted from the image's corner.

        They are NaN where no direction leads to the point. Raises CalibrationError as `check_size` does.
        """
        self.check_size(width, height)
        # images count from their corner, calibrations from the middle of the first pixel
        pixels = points * self._scale(width, height) + self._offset - 0.5
        # a CameraInfo may hold numbers of any size; the result is tested below, so NumPy need not warn
        with np.errstate(all="ignore"):
            return self._directions(pixels)

    def points(self, directions: _Rays, width: int, height: int) -> _Rays:
        """Return the N x 2 points at which N x 3 directions (of any length) are seen in an image of that size.

        They are NaN for what is behind the camera; a point may be outside the image. Raises CalibrationError as
        `check_size` does.
        """
        self.check_size(width, height)
        with np.errstate(all="ignore"):
            pixels = self._pixels(np.asarray(directions, np.float64))
        return np.asarray((pixels + 0.5 - self._offset) / self._scale(width, height))

    def _scale(self, width: int, height: int) -> tuple[float, float]:
        """Return how many pixels of the calibrated image one pixel of an image of that size is, across and down."""
        return (self._extent[0] / width, self._extent[1] / height)

    def _pixels(self, rays: _Rays) -> _Rays:
        x, y, z = rays.T
        if self._model == "equidistant":
            across = np.hypot(x, y)
            theta = np.arctan2(across, z)
            powers = np.arange(1, 10, 2)
            distorted = (np.concatenate([[1.0], self._coefficients]) * theta[:, None] ** powers).sum(axis=1)
            along = np.column_stack([x, y]) / np.where(across > 0, across, 1.0)[:, None]
            plane = np.column_stack([along * distorted[:, None], np.ones(len(rays))])
            return np.asarray((plane @ self._matrix.T)[:, :2])
        imaged = cv2.projectPoints(rays[:, None], np.zeros(3), np.zeros(3), self._matrix, self._coefficients)[0][:, 0]
        imaged[~(z > 0)] = np.nan
        return np.asarray(imaged)

    def _directions(self, pixels: _Rays) -> _Rays:
        """Turn N x 2 pixels into N x 3 unit vectors, NaN where no direction leads to the pixel."""
        if self._model == "equidistant":
            return self._fisheye_directions(pixels)
        plane = _undistorted(pixels, self._matrix, self._coefficients)
        rays = np.column_stack([plane, np.ones(len(plane))])
        # outside the picture the polynomial may fold back, and the iteration then ends anywhere: project and compare
        imaged = cv2.projectPoints(rays[:, None], np.zeros(3), np.zeros(3), self._matrix, self._coefficients)[0][:, 0]
        rays[~(np.abs(imaged - pixels).max(axis=1) < _CLOSE)] = np.nan
        return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))

    def _fisheye_directions(self, pixels: _Rays) -> _Rays:
        """Solve for the angle here: OpenCV returns points of the plane z = 1, which ends before 90 degrees."""
        fx, skew, cx, fy, cy = (self._matrix[at] for at in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
        b = (pixels[:, 1] - cy) / fy
        a = (pixels[:, 0] - cx - skew * b) / fx
        distorted = np.hypot(a, b)
        powers = np.arange(1, 10, 2)
        factors = np.concatenate([[1.0], self._coefficients])
        theta = distorted.copy()
        for _ in range(20):
            value = (factors * theta[:, None] ** powers).sum(axis=1) - distorted
            slope = (factors * powers * theta[:, None] ** (powers - 1)).sum(axis=1)
            theta = np.clip(theta - value / np.where(slope > 1e-6, slope, 1e-6), 0.0, math.pi)
        missed = np.abs((factors * theta[:, None] ** powers).sum(axis=1) - distorted) * max(fx, fy) >= _CLOSE
        along = np.column_stack([a, b]) / np.where(distorted > 0, distorted, 1.0)[:, None]
        rays = np.column_stack([along * np.sin(theta)[:, None], np.cos(theta)])
        rays[missed] = np.nan
        return np.asarray(rays)


def _completed(model: str, coefficients: _Rays) -> _Rays:
    """Return as many coefficients as OpenCV takes: drivers append zeros, or leave out those that are zero.

    Raises CalibrationError where more are not zero than the model has.
    """
    if model not in _COEFFICIENTS:
        raise CalibrationError(f"distortion model '{model}' is not known; known are {', '.join(_COEFFICIENTS)}")
    meant = np.trim_zeros(coefficients, "b")
    count = next((count for count in _COEFFICIENTS[model] if count >= len(meant)), None)
    if count is None:
        raise CalibrationError(
            f"distortion model '{model}' with {len(meant)} coefficients is not known; it has at most"
            f" {_COEFFICIENTS[model][-1]}"
        )
    return np.pad(meant, (0, count - len(meant)))


def content(info: CameraInfo) -> tuple[Any, ...]:
    """Return all of a CameraInfo but its header, to detect a changed calibration."""
    roi = info.roi
    return (
        *(info.width, info.height, info.distortion_model, info.binning_x, info.binning_y),
        *(roi.x_offset, roi.y_offset, roi.width, roi.height),
        *(tuple(numbers) for numbers in (info.d, info.k, info.p)),
    )


def _undistorted(pixels: _Rays, matrix: _Rays, coefficients: _Rays) -> _Rays:
    """Return N x 2 points of the plane z = 1, from more than the five iterations that OpenCV makes by default."""
    # OpenCV 5 has one function for both
    undistort = getattr(cv2, "undistortPointsIter", cv2.undistortPoints)
    plane = undistort(pixels[:, None], matrix, coefficients, R=None, P=None, criteria=_ITERATIONS)
    return np.asarray(plane, np.float64)[:, 0]


def _angle(a: _Rays, b: _Rays) -> float:
    # by the half-angle, which is exact for small angles too
    return float(2 * math.atan2(float(np.linalg.norm(a - b)), float(np.linalg.norm(a + b))))
