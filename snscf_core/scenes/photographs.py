# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the photographs that a scene is made of, and cuts, colours and enlarges them."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# The cup's outline in coffee.png: two ellipses (centre, axes, angle) and the spoon's handle.
_SAUCER = ((278.4, 218.8), (332.6, 401.2), 101.4)
_CUP_RIM = ((290.1, 107.1), (179.2, 234.0), 92.9)
_SPOON = [
    (398, 72),
    (402, 68),
    (408, 67),
    (415, 68),
    (421, 71),
    (424, 77),
    (423, 84),
    (420, 95),
    (416, 107),
    (400, 110),
]


def photograph(name: str) -> Array:
    """Reads a file of the installed scikit-image as H x W x 3 BGR, without importing scikit-image."""
    package = importlib.util.find_spec("skimage")
    for place in (package.submodule_search_locations or ()) if package else ():
        image = cv2.imread(str(Path(place) / "data" / name), cv2.IMREAD_COLOR)
        if image is not None:
            return image
    raise FileNotFoundError(f"the generated scene needs {name} of scikit-image (pip install scikit-image)")


def cup_outline() -> Array:
    scale = 8
    mask = np.zeros((400 * scale, 600 * scale), np.uint8)
    for ellipse in (_SAUCER, _CUP_RIM):
        (x, y), axes, angle = ellipse
        turn = np.linspace(0, 2 * math.pi, 720, endpoint=False)
        points = np.stack([axes[0] / 2 * np.cos(turn), axes[1] / 2 * np.sin(turn)], axis=1)
        c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
        points = points @ np.array([[c, s], [-s, c]]) + (x, y)
        cv2.fillPoly(mask, [np.round(points * scale).astype(np.int32)], 1)
    cv2.fillPoly(mask, [np.array(_SPOON, np.int32) * scale], 1)
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    longest = max(contours, key=cv2.contourArea)[:, 0]
    return (longest[::4].astype(np.float64) + 0.5) / scale


def glazed(cup: Array, hue: int, saturation: float, value: float) -> Array:
    """Recolours the red glaze of the cup; porcelain, coffee and steel keep their colours."""
    hsv = cv2.cvtColor(cup, cv2.COLOR_BGR2HSV).astype(np.float32)
    red = ((hsv[..., 0] < 10) | (hsv[..., 0] > 165)) & (hsv[..., 1] > 110)
    share = cv2.GaussianBlur(red.astype(np.float32), (0, 0), 1.5)[..., None]
    hsv[..., 0] = (hsv[..., 0] + hue) % 180
    hsv[..., 1:] *= (saturation, value)
    other = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2BGR)
    return (other * share + cup * (1 - share)).round().astype(np.uint8)


def tinted(grey: Array, colours: tuple[tuple[int, int, int], ...], contrast: float = 1.0) -> Array:
    """Colours a grey texture, H x W x 3. ``colours``: BGR of dark, middle and light pixels."""
    levels = np.clip((np.arange(256) / 255 - 0.5) * contrast + 0.5, 0, 1)
    table = np.stack([np.interp(levels, (0.1, 0.5, 0.9), [c[k] for c in colours]) for k in range(3)], axis=1)
    return table.round().astype(np.uint8)[grey]


def fill(texture: Array, size: tuple[int, int]) -> Array:
    """Enlarges a texture up to 1.6 times, then repeats it mirrored, until it covers (width, height)."""
    factor = min(max(want / have for want, have in zip(size[::-1], texture.shape[:2], strict=True)), 1.6)
    if factor > 1:
        texture = cv2.resize(texture, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    down, right = (math.ceil(want / have) for want, have in zip(size[::-1], texture.shape[:2], strict=True))
    row = np.concatenate([texture[:, :: (-1) ** k] for k in range(right)], axis=1)
    return np.concatenate([row[:: (-1) ** k] for k in range(down)], axis=0)[: size[1], : size[0]]
