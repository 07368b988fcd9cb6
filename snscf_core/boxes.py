# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Boxes and the overlap between them.

Inside the library a box is ``(cx, cy, w, h)``: centre and size, in pixels of the frame, as floats. Coordinates are
continuous: pixel ``i`` covers ``[i, i + 1)``, so the centre of a frame of width 640 is at 320. At the edges of the
library a box is ``(x, y, w, h)`` with the top-left corner, as OpenCV and the benchmarks have it. All functions take and
return arrays of shape ``(..., 4)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def xywh_to_cxcywh(boxes: npt.ArrayLike) -> Array:
    """Converts ``(x, y, w, h)`` boxes with the top-left corner to ``(cx, cy, w, h)`` boxes with the centre."""
    boxes = np.asarray(boxes, np.float64)
    return np.concatenate([boxes[..., :2] + boxes[..., 2:] / 2, boxes[..., 2:]], axis=-1)


def cxcywh_to_xywh(boxes: npt.ArrayLike) -> Array:
    """Converts ``(cx, cy, w, h)`` boxes with the centre to ``(x, y, w, h)`` boxes with the top-left corner."""
    boxes = np.asarray(boxes, np.float64)
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., 2:]], axis=-1)


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Returns the intersection over union of ``(x, y, w, h)`` boxes, broadcast over leading axes.

    Returns NaN where a box has NaN, and 0 for two boxes without area.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    intersection = np.prod(np.maximum(high - low, 0), axis=-1)
    union = np.prod(a[..., 2:], axis=-1) + np.prod(b[..., 2:], axis=-1) - intersection
    return np.where(union > 0, intersection / np.where(union > 0, union, 1), np.where(np.isnan(union), np.nan, 0.0))


def check_box(box: Any, frame_width: int, frame_height: int) -> tuple[float, float, float, float]:
    """Checks that a box ``(x, y, w, h)`` is usable in a frame of the given size and returns it as four floats.

    Raises ValueError if the box does not have four finite numbers, has no positive size, is smaller than one pixel in
    area, lies entirely outside the frame, or is more than four times as wide or high as the frame. The message names
    the wrong number.
    """
    values = np.asarray(box, np.float64).reshape(-1)
    if values.shape != (4,):
        raise ValueError(f"a box has 4 numbers (x, y, w, h), got {values.size}")
    x, y, w, h = (float(v) for v in values)
    for name, value in zip(("x", "y", "width", "height"), (x, y, w, h), strict=True):
        if not np.isfinite(value):
            raise ValueError(f"box {name} must be finite, got {value}")
    for name, value in (("width", w), ("height", h)):
        if value <= 0:
            raise ValueError(f"box {name} must be positive, got {value:g}")
    if w * h < 1:
        raise ValueError(f"box area must be at least 1 pixel, got {w:g} x {h:g}")
    if x >= frame_width or x + w <= 0:
        raise ValueError(f"box from x={x:g} to x={x + w:g} is outside the frame of width {frame_width}")
    if y >= frame_height or y + h <= 0:
        raise ValueError(f"box from y={y:g} to y={y + h:g} is outside the frame of height {frame_height}")
    if w > 4 * frame_width or h > 4 * frame_height:
        raise ValueError(f"box of {w:g} x {h:g} is far larger than the frame of {frame_width} x {frame_height}")
    return x, y, w, h
