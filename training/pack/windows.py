# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Chooses windows to cut out of pictures: around the objects, with enough surroundings to search in."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from snscf_core.boxes import Array

REACH = 6.0  # side of a window, in units of the object's longer side
SMALLEST = 200  # pixels; a smaller window would show little of a small object's surroundings
SMOOTHED = 15  # frames over which the motion of a clip's window is smoothed
MARGIN = 8  # pixels between a clip's box and its window's edge, unless the picture ends there


class Window(NamedTuple):
    """Holds a part of a picture, in pixels."""

    x: int
    y: int
    width: int
    height: int


def still_windows(boxes: Array, width: int, height: int, count: int) -> list[tuple[Window, list[int]]]:
    """Chooses at most ``count`` windows of a picture, and for each the numbers of the boxes that lie wholly in it.

    boxes: N x 4 (x, y, w, h), inside the picture

    A window has ``REACH`` times the longer side of the box in its middle. Each next window holds the most boxes that no
    earlier one shows well. A window more than twice as large as a box's own does not show that box well. A picture that
    is not larger than a window is taken whole.
    """
    own = np.maximum(SMALLEST, REACH * boxes[:, 2:].max(axis=1))
    windows = [_window(box, side, width, height) for box, side in zip(boxes, own, strict=True)]
    low = np.array([(window.x, window.y) for window in windows]).reshape(-1, 1, 2)
    high = low + np.array([(window.width, window.height) for window in windows]).reshape(-1, 1, 2)
    inside = ((boxes[:, :2] >= low) & (boxes[:, :2] + boxes[:, 2:] <= high)).all(axis=2)  # windows x boxes
    sides = np.array([max(window.width, window.height) for window in windows])
    well = inside & (sides[:, None] <= 2 * own[None, :])
    np.fill_diagonal(well, True)
    chosen = []
    open_boxes = np.ones(len(boxes), bool)
    while open_boxes.any() and len(chosen) < count:
        best = int((well & open_boxes).sum(axis=1).argmax())
        chosen.append((windows[best], np.flatnonzero(inside[best]).tolist()))
        open_boxes &= ~well[best]
    return chosen


def clip_windows(boxes: Array, width: int, height: int) -> list[Window]:
    """Returns a window for each frame of a clip, all of one size, which follows the object smoothly and holds its box.

    boxes: N x 4 (x, y, w, h), NaN where the object is absent; the window then moves from its last to its next place

    Raises ValueError if the object is in no frame.
    """
    seen = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    if not len(seen):
        raise ValueError("the object is in no frame")
    numbers = np.arange(len(boxes))
    known = np.stack([np.interp(numbers, seen, boxes[seen, column]) for column in range(4)], axis=1)
    reach = max(SMALLEST, REACH * float(np.percentile(known[:, 2:].max(axis=1), 90)))
    padded = np.pad(known[:, :2] + known[:, 2:] / 2, ((SMOOTHED // 2, SMOOTHED // 2), (0, 0)), mode="edge")
    middle = np.stack([padded[shift : shift + len(known)] for shift in range(SMOOTHED)]).mean(axis=0)
    limits = np.array([width, height])
    size = np.minimum(limits, np.ceil(np.maximum(reach, known[:, 2:].max(axis=0) + 2 * MARGIN))).astype(int)
    low = middle - size / 2
    low = np.minimum(np.maximum(low, known[:, :2] + known[:, 2:] + MARGIN - size), known[:, :2] - MARGIN)
    low = np.clip(np.round(low), 0, limits - size).astype(int)
    return [Window(int(x), int(y), int(size[0]), int(size[1])) for x, y in low]


def _window(box: Array, side: float, width: int, height: int) -> Window:
    size = [int(min(limit, np.ceil(side))) for limit in (width, height)]
    low = [
        int(np.clip(round(float(box[axis] + box[axis + 2] / 2 - size[axis] / 2)), 0, limit - size[axis]))
        for axis, limit in ((0, width), (1, height))
    ]
    return Window(*low, *size)
