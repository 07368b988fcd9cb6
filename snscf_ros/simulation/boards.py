# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Renders upright pictures that stand in the world: the target, its look-alikes and what hides it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core.scenes.sprites import Layer, Sprite
from snscf_ros.simulation.pinhole import Pinhole, Pose

Array = npt.NDArray[Any]

_NEAREST = 0.1  # m; nothing nearer is drawn
_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class Board:
    """Holds a cut-out picture of known size.

    levels: its image pyramid, BGRA, with colours multiplied by opacity.
    place: 3x3; turns pixels of the finest level into metres right of the middle and above the foot.
    outline: N x 2, in these metres.
    size: width and height in metres.
    """

    levels: tuple[Array, ...]
    place: Array
    outline: Array
    size: tuple[float, float]

    @classmethod
    def cut(cls, photo: Array, outline: Array, width: float) -> Board:
        """Cut a board that is `width` metres wide out of a photograph along an outline (N x 2 pixels)."""
        sprite = Sprite.cut(photo, outline)
        metre = width / sprite.width
        lowest = float(sprite.outline[:, 1].max())
        shape = np.column_stack([sprite.outline[:, 0], lowest - sprite.outline[:, 1]]) * metre
        x, y = sprite.middle
        place = np.array([[metre, 0, -metre * x], [0, -metre, metre * (y + lowest)], [0, 0, 1.0]])
        return cls(sprite.pyramid, place, shape, (width, float(np.ptp(shape[:, 1]))))


class Drawn(NamedTuple):
    """Holds what a camera sees of a board.

    layer: its pixels; None if there are none.
    outline: N x 2 pixels, as if nothing were in front.
    """

    layer: Layer | None
    outline: Array


@dataclass(frozen=True)
class Standing:
    """Places a board in the world.

    foot: the middle of its lower edge, (3,).
    across: unit vector (3,) from there to the right of the picture.
    """

    board: Board
    foot: Array
    across: Array

    @classmethod
    def facing(cls, board: Board, foot: Array, viewer: Array, turn: float = 0.0) -> Standing:
        """Stand a board upright so that it faces a viewer (3,), turned from there by `turn` radians."""
        dx, dy = (foot - viewer)[:2]
        heading = math.atan2(dy, dx) + turn
        return cls(board, foot, np.array([math.sin(heading), -math.cos(heading), 0.0]))

    @property
    def middle(self) -> Array:
        """Return the point in the middle of the board, (3,)."""
        return np.asarray(self.foot + _UP * self.board.size[1] / 2)

    def draw(self, lens: Pinhole, pose: Pose, depth: Array) -> Drawn | None:
        """Render the board and write its depth into `depth` (H x W, metres along the axis).

        Returns None where a part of it is beside or behind the camera.
        """
        corners = self._points(np.array([[x, y] for x in (-0.5, 0.5) for y in (0, 1)]) * self.board.size)
        if pose.to_camera(corners)[:, 2].min() < _NEAREST:
            return None
        away = pose.to_camera(self._points(self.board.outline))
        outline = away[:, :2] / away[:, 2:] * lens.focal + np.array(lens.size) / 2
        low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 2, 0)
        high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 2, lens.size)
        if (high <= low).any():
            return Drawn(None, outline)
        pixels = self._pixels(lens, pose, low, high)
        layer = Layer(pixels, int(low[0]), int(low[1]))
        part = depth[low[1] : high[1], low[0] : high[0]]
        solid = pixels[..., 3] > 127
        part[solid] = self._depth(lens, pose, low, high)[solid]
        return Drawn(layer, outline)

    def _points(self, plane: Array) -> Array:
        return np.asarray(self.foot + plane[:, :1] * self.across + plane[:, 1:] * _UP)

    def _pixels(self, lens: Pinhole, pose: Pose, low: Array, high: Array) -> Array:
        scale = lens.focal * self.board.place[0, 0] / float(pose.to_camera(self.middle)[2])
        level = int(np.clip(round(math.log2(1 / scale)), 0, len(self.board.levels) - 1))
        step = 2.0**level
        # from pixel centres to corners and back, as OpenCV counts from the former
        texture = np.array([[step, 0, step / 2], [0, step, step / 2], [0, 0, 1]])
        picture = np.array([[1, 0, -low[0] - 0.5], [0, 1, -low[1] - 0.5], [0, 0, 1.0]])
        axes = np.column_stack([pose.rotation.T @ self.across, pose.rotation.T @ _UP, pose.to_camera(self.foot)])
        matrix = picture @ lens.corner_matrix @ axes @ self.board.place @ texture
        size = int(high[0] - low[0]), int(high[1] - low[1])
        return cv2.warpPerspective(self.board.levels[level], matrix, size, flags=cv2.INTER_LINEAR)

    def _depth(self, lens: Pinhole, pose: Pose, low: Array, high: Array) -> Array:
        normal = pose.rotation.T @ np.cross(self.across, _UP)
        distance = float(normal @ pose.to_camera(self.foot))
        columns = (np.arange(low[0], high[0]) + 0.5 - lens.size[0] / 2) / lens.focal * normal[0] + normal[2]
        rows = (np.arange(low[1], high[1]) + 0.5 - lens.size[1] / 2) / lens.focal * normal[1]
        slope = rows[:, None] + columns[None, :]
        # a ray along the board does not meet it; its pixels are the board's edge, whose depth is that of the middle
        middle = float(pose.to_camera(self.middle)[2])
        with np.errstate(divide="ignore"):
            found = distance / slope
        return np.where((found > _NEAREST) & (np.abs(found - middle) < self.board.size[0]), found, middle)
