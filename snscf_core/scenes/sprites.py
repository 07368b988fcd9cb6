# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cuts objects out of photographs and renders them into frames, with motion blur and shadows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from .motions import Course

Array = npt.NDArray[Any]

_EXPOSURE = 0.35  # share of the frame interval during which the shutter is open


class Layer(NamedTuple):
    pixels: Array  # h x w x 4 uint8 BGRA, colours multiplied by opacity
    x: int
    y: int

    def opacity_on(self, other: Layer) -> Array:
        """Returns this layer's opacity, in [0, 1], at the pixels of the other layer."""
        result = np.zeros(other.pixels.shape[:2], np.float32)
        height, width = other.pixels.shape[:2]
        x0, y0 = max(self.x, other.x), max(self.y, other.y)
        x1 = min(self.x + self.pixels.shape[1], other.x + width)
        y1 = min(self.y + self.pixels.shape[0], other.y + height)
        if x1 > x0 and y1 > y0:
            part = self.pixels[y0 - self.y : y1 - self.y, x0 - self.x : x1 - self.x, 3]
            result[y0 - other.y : y1 - other.y, x0 - other.x : x1 - other.x] = part / np.float32(255)
        return result


@dataclass(frozen=True)
class Sprite:
    """An object cut out of a photograph along an outline, as an image pyramid."""

    outline: Array  # N x 2, in pixels of the photograph, about the middle of its bounds
    middle: Array
    width: float
    pyramid: tuple[Array, ...]  # BGRA, colours multiplied by opacity
    shadow: Array  # BGRA at the coarsest level, padded by a quarter on each side

    @classmethod
    def cut(cls, photo: Array, outline: Array) -> Sprite:
        low, high = outline.min(axis=0), outline.max(axis=0)
        margin = 8
        corner = np.floor(low).astype(int) - margin
        extent = (np.ceil((high - corner + margin) / 8) * 8).astype(int)
        shift = np.array([[1.0, 0, -corner[0]], [0, 1.0, -corner[1]]])
        picture = cv2.warpAffine(photo, shift, tuple(int(v) for v in extent), borderMode=cv2.BORDER_REPLICATE)
        fine = np.zeros((extent[1] * 4, extent[0] * 4), np.uint8)
        points = np.round(((outline - corner) * 4 - 0.5) * 16).astype(np.int32)
        cv2.fillPoly(fine, [points], 255, cv2.LINE_8, 4)
        opacity = cv2.resize(fine, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        colours = (picture.astype(np.float32) * (opacity[..., None] / np.float32(255))).round().astype(np.uint8)
        levels = [np.dstack([colours, opacity])]
        while len(levels) < 4:
            levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        coarse = levels[2][..., 3]
        pad = max(coarse.shape) // 4
        soft = cv2.copyMakeBorder(coarse, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        soft = cv2.GaussianBlur(soft, (0, 0), max(min(coarse.shape) * 0.05, 1.0))
        shadow = np.dstack([np.zeros((*soft.shape, 3), np.uint8), (soft * 0.5).astype(np.uint8)])
        middle = (low + high) / 2
        return cls(outline - middle, middle - corner, float(high[0] - low[0]), tuple(levels), shadow)

    def outline_at(self, motion: Course, time: float) -> npt.NDArray[np.float64]:
        linear, centre = _pose(motion, time)
        return cast("npt.NDArray[np.float64]", self.outline @ linear.T + centre)

    def show(self, motion: Course, time: float, frame_size: tuple[int, int]) -> Layer | None:
        """Renders the object with motion blur; returns None if it is outside the frame."""
        level = int(np.clip(math.floor(math.log2(1 / float(motion.size(time))) + 0.5), 0, len(self.pyramid) - 1))
        blur = math.hypot(*motion.velocity(time)) * _EXPOSURE
        count = int(np.clip(math.ceil(blur), 1, 6))
        times = time + _EXPOSURE * ((np.arange(count) + 0.5) / count - 0.5)
        points = np.concatenate([self.outline_at(motion, float(t)) for t in times])
        region = _region(points, 2, frame_size)
        if region is None:
            return None
        x, y, width, height = region
        total = np.zeros((height, width, 4), np.float32)
        for moment in times:
            matrix = self._matrix(motion, float(moment), 2.0**level, self.middle, (x, y))
            cv2.accumulate(cv2.warpAffine(self.pyramid[level], matrix, (width, height), flags=cv2.INTER_LINEAR), total)
        return Layer(cv2.convertScaleAbs(total, alpha=1 / count), x, y)

    def shade(self, motion: Course, time: float, frame_size: tuple[int, int], fall: float) -> Layer | None:
        """Renders the object's soft shadow, displaced to the lower right by ``fall`` frame pixels."""
        points = self.outline_at(motion, time) + fall
        region = _region(points, math.ceil(0.15 * float(np.ptp(points, axis=0).min())) + 2, frame_size)
        if region is None:
            return None
        x, y, width, height = region
        pad = (self.shadow.shape[1] - self.pyramid[2].shape[1]) / 2
        matrix = self._matrix(motion, time, 4.0, self.middle + 4 * pad, (x - fall, y - fall))
        return Layer(cv2.warpAffine(self.shadow, matrix, (width, height), flags=cv2.INTER_LINEAR), x, y)

    @staticmethod
    def _matrix(motion: Course, time: float, step: float, middle: Array, corner: tuple[float, float]) -> Array:
        """Returns the matrix from pixels of a picture, each ``step`` photograph pixels wide, to pixels of a region.

        Coordinates are continuous here but refer to pixel centres in OpenCV, hence the halves.
        """
        linear, centre = _pose(motion, time)
        offset = centre - linear @ middle - np.asarray(corner) + linear @ np.full(2, 0.5 * step) - 0.5
        return np.column_stack([linear * step, offset])


def _pose(motion: Course, time: float) -> tuple[Array, Array]:
    size, angle = float(motion.size(time)), motion.angle(time)
    linear = size * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return linear, np.array([float(v) for v in motion.position(time)])


def _region(points: Array, margin: int, frame_size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    low = np.maximum(np.floor(points.min(axis=0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + margin, frame_size)
    if (high <= low).any():
        return None
    return int(low[0]), int(low[1]), int(high[0] - low[0]), int(high[1] - low[1])


def lay(image: Array, layer: Layer | None) -> None:
    if layer is None:
        return
    height, width = layer.pixels.shape[:2]
    part = image[layer.y : layer.y + height, layer.x : layer.x + width]
    through = cv2.cvtColor(255 - layer.pixels[..., 3], cv2.COLOR_GRAY2BGR)
    colours = cv2.cvtColor(layer.pixels, cv2.COLOR_BGRA2BGR)
    part[:] = cv2.add(cv2.multiply(part, through, scale=1 / 255), colours)
