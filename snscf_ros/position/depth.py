# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the depth of a target from a depth image: not that of what is behind it or in front of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from snscf_ros.position.rigid import Array

if TYPE_CHECKING:
    from sensor_msgs.msg import Image

Box = tuple[float, float, float, float]

# depth encodings: type of a pixel, and metres of its unit
_ENCODINGS = {"16UC1": ("u2", 1e-3), "mono16": ("u2", 1e-3), "32FC1": ("f4", 1.0)}
_MIDDLE = 0.8  # of the box's sides; beyond it there is mostly background
_SIGMA = 0.25  # of the box's side; how weights fall off from its centre
_MOST = 64  # samples along a side
_BIN = 0.02  # width of a bin, as a share of the depth
_WINDOW = 0.06  # what is within this share of a depth counts as the same surface
# a surface in front of others is the target if it has this share of the weight; less is a branch or a hand
_ENOUGH = 0.25
_LEAST_VALID = 0.10  # of the weight
_LEAST_SAMPLES = 12


class DepthRefused(ValueError):
    """A depth image cannot be used; the text says why."""


class NotEnoughDepth(LookupError):
    """A depth image says too little about a target; the text says what is missing."""


@dataclass(frozen=True)
class TargetDepth:
    """The depth of a target's visible surface along the optical axis.

    metres: the depth. relief: standard deviation of the surface itself, m. share: of the box's weight at that depth.
    """

    metres: float
    relief: float
    share: float


class DepthImage:
    """A depth image of the same view as the camera's image, of any size. Only the part that is asked for is read."""

    def __init__(self, message: Image) -> None:
        """Check a sensor_msgs/Image. Raises DepthRefused."""
        if message.encoding not in _ENCODINGS:
            raise DepthRefused(f"encoding '{message.encoding}' holds no depth; known are {', '.join(_ENCODINGS)}")
        kind, self._unit = _ENCODINGS[message.encoding]
        dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
        width, height, step = message.width, message.height, message.step
        if not (width and height) or step < width * dtype.itemsize or len(message.data) != step * height:
            raise DepthRefused(
                f"{width} x {height} pixels of '{message.encoding}' do not fit {len(message.data)} bytes, {step} a row"
            )
        self._pixels: npt.NDArray[np.generic] = np.ndarray(
            (height, width), dtype, memoryview(message.data), strides=(step, dtype.itemsize)
        )

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return (self._pixels.shape[1], self._pixels.shape[0])

    def metres(self, rows: slice, columns: slice) -> Array:
        """Return the depths of a part, NaN where there are none."""
        depths = self._pixels[rows, columns].astype(np.float64) * self._unit
        depths[~(np.isfinite(depths) & (depths > 0))] = np.nan
        return depths


def target_depth(
    depth: DepthImage, box: Box, image_size: tuple[int, int], expected: tuple[float, float] | None = None
) -> TargetDepth:
    """Find the depth of what fills the middle of a box.

    Depths near the box's centre weigh more. Several surfaces may have enough weight. Without `expected`, the nearest
    one is taken. With it, the one whose depth is closest to it is taken.
    box: top-left (x, y, w, h) in an image of `image_size` (width, height), which shows the same view.
    expected: depth and its standard deviation in metres, from the images before.
    Raises NotEnoughDepth.
    """
    depths, weights = _samples(depth, box, image_size)
    valid = ~np.isnan(depths)
    if valid.sum() < _LEAST_SAMPLES or weights[valid].sum() < _LEAST_VALID * weights.sum():
        raise NotEnoughDepth(f"{valid.sum()} of {valid.size} samples in the box's middle have a depth")
    whole = float(weights.sum())
    depths, weights = depths[valid], weights[valid]
    surface = _chosen(np.log(depths), weights, expected)
    near = np.abs(np.log(depths) - surface) < _WINDOW
    metres = _weighted_median(depths[near], weights[near])
    relief = math.sqrt(float(np.average((depths[near] - metres) ** 2, weights=weights[near])))
    return TargetDepth(metres, relief, float(weights[near].sum()) / whole)


def _samples(depth: DepthImage, box: Box, image_size: tuple[int, int]) -> tuple[Array, Array]:
    """Return depths in the middle of the box, and their weights, both flat."""
    parts, falloffs = [], []
    for start, side, image_side, depth_side in (
        (box[1], box[3], image_size[1], depth.size[1]),
        (box[0], box[2], image_size[0], depth.size[0]),
    ):
        scale = depth_side / image_side
        middle, half = (start + side / 2) * scale, side * scale / 2
        first = max(0, math.floor(middle - _MIDDLE * half))
        last = min(depth_side, math.ceil(middle + _MIDDLE * half))
        if last <= first:
            raise NotEnoughDepth("the box's middle is outside the depth image")
        step = max(1, math.ceil((last - first) / _MOST))
        places = np.arange(first, last, step) + 0.5
        parts.append(slice(first, last, step))
        falloffs.append(np.exp(-0.5 * ((places - middle) / (2 * _SIGMA * max(half, 0.5))) ** 2))
    return depth.metres(*parts).ravel(), np.outer(*falloffs).ravel()


def _chosen(logs: Array, weights: Array, expected: tuple[float, float] | None) -> float:
    """Return the logarithm of the depth of the surface that is the target."""
    first = float(logs.min())
    bins = np.minimum(((logs - first) / _BIN).astype(int), 2000)
    # smoothed, and so beginning one bin earlier
    counts = np.convolve(np.bincount(bins, weights), [0.25, 0.5, 0.25])
    padded = np.pad(counts, 1)
    peaks = np.flatnonzero((padded[1:-1] >= padded[:-2]) & (padded[1:-1] > padded[2:]))
    surfaces = [float(first + (peak - 0.5) * _BIN) for peak in peaks]
    shares = [float(weights[np.abs(logs - surface) < _WINDOW].sum() / weights.sum()) for surface in surfaces]
    enough = [surface for surface, share in zip(surfaces, shares, strict=True) if share >= _ENOUGH]
    if not enough:
        return surfaces[int(np.argmax(shares))]
    if expected is not None and expected[0] > 0:
        return min(enough, key=lambda surface: abs(math.exp(surface) - expected[0]))
    return min(enough)


def _weighted_median(values: Array, weights: Array) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])
