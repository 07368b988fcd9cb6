"""Context crops: the square patch around a target that the network sees (SiamFC's protocol, paper section 4)."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Frame = npt.NDArray[np.uint8]

TEMPLATE_SIZE = 127  # pixels of the exemplar crop
SEARCH_SIZE = 255  # pixels of the search crop that the networks are trained with
MIN_FRAME_SIDE = 16  # pixels; nothing can be tracked in less


def check_frame(frame: Any) -> Frame:
    """The frame, if it is an H x W x 3 uint8 BGR array with at least 16 pixels a side; else ValueError or TypeError."""
    if not isinstance(frame, np.ndarray):
        raise TypeError(f"a frame is a numpy array of shape (height, width, 3), got {type(frame).__name__}")
    if frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame has shape (height, width, 3), got {frame.shape}")
    if frame.dtype != np.uint8:
        raise ValueError(f"a frame has dtype uint8, got {frame.dtype}")
    height, width = frame.shape[:2]
    if min(height, width) < MIN_FRAME_SIDE:
        raise ValueError(f"a frame has at least {MIN_FRAME_SIDE} pixels a side, got {width} x {height}")
    return frame


def context_side(width: float, height: float) -> float:
    """Side in frame pixels of the template crop of a target: sqrt((w + p)(h + p)) with context p = (w + h) / 2."""
    context = (width + height) / 2
    return math.sqrt((width + context) * (height + context))


def crop(frame: Frame, centre: tuple[float, float], side: float, size: int) -> Frame:
    """The square of ``side`` frame pixels around ``centre``, resampled to ``size`` x ``size`` x 3.

    ``centre`` is ``(cx, cy)`` in continuous frame coordinates and may lie outside the frame; what is outside is filled
    with the frame's mean colour. Crop coordinate ``u`` (continuous) shows frame coordinate
    ``cx + (u - size / 2) * side / size``, exactly, at any sub-pixel position. Patches that shrink by two or more are
    averaged over blocks first, so that fine texture does not alias.
    """
    scale = side / size
    half = side / 2
    height, width = frame.shape[:2]
    # Only the part of the frame under the crop (plus interpolation support) is touched.
    margin = math.ceil(scale) + 1
    left, top = max(0, math.floor(centre[0] - half) - margin), max(0, math.floor(centre[1] - half) - margin)
    right, bottom = min(width, math.ceil(centre[0] + half) + margin), min(height, math.ceil(centre[1] + half) + margin)
    outside = centre[0] - half < 0 or centre[1] - half < 0 or centre[0] + half > width or centre[1] + half > height
    fill = cv2.mean(np.ascontiguousarray(frame))[:3] if outside else (0.0, 0.0, 0.0)
    if right - left < 1 or bottom - top < 1:
        return np.full((size, size, 3), np.round(fill), np.uint8)
    region: Any = np.ascontiguousarray(frame[top:bottom, left:right])
    x, y = centre[0] - left, centre[1] - top

    block = int(scale)
    if block >= 2 and min(region.shape[:2]) >= block:
        rows, columns = region.shape[0] // block, region.shape[1] // block
        region = cv2.resize(region[: rows * block, : columns * block], (columns, rows), interpolation=cv2.INTER_AREA)
        x, y, scale = x / block, y / block, scale / block
    offset = (0.5 - size / 2) * scale - 0.5
    to_region = np.array([[scale, 0, x + offset], [0, scale, y + offset]])
    out: Any = cv2.warpAffine(
        region,
        to_region,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT if outside else cv2.BORDER_REPLICATE,
        borderValue=fill,
    )
    return out
