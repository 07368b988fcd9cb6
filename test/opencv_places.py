# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Places of crops at which every OpenCV interpolates exactly.

OpenCV 5 does everywhere, for images of 8 bits; older ones round the place of each pixel to 1 / 32 of a source pixel.
"""

from __future__ import annotations

from math import ceil, floor

import cv2
import numpy as np


def _rounds() -> bool:
    step = np.array([[0, 0, 0, 255, 255, 255]] * 3, np.uint8)
    shift = np.array([[1, 0, 1 / 100], [0, 1, 0]])
    return cv2.warpAffine(step, shift, (4, 3), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)[1, 2] == 0


ROUNDS = _rounds()


def exact_side(side: float, size: int) -> float:
    """The side of a crop of `size` pixels, made a little smaller where this OpenCV would round."""
    if not ROUNDS:
        return side
    unit = _block(side, size) / 16
    return max(1, floor(side / size / unit)) * unit * size


def exact_place(centre: tuple[float, float], side: float, size: int) -> tuple[tuple[float, float], float]:
    """Centre and side of a crop of `size` pixels, moved a little where this OpenCV would round."""
    if not ROUNDS:
        return centre, side
    side = exact_side(side, size)
    unit = _block(side, size) / 32
    x, y = (_on_grid(middle, side / 2, ceil(side / size) + 1, unit) for middle in centre)
    return (x, y), side


def _block(side: float, size: int) -> int:
    """Source pixels that a crop averages first, in each direction."""
    return max(1, floor(side / size))


def _on_grid(middle: float, half: float, margin: int, unit: float) -> float:
    start = max(0, floor(middle - half) - margin)
    return start + round((middle - start) / unit) * unit
