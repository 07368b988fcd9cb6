# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Renders the ground, the walls around it and the sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core.scenes.photographs import fill, photograph, tinted
from snscf_ros.simulation.pinhole import Pinhole, Pose

Array = npt.NDArray[Any]

REACH = 20.0  # m from the middle of the world to its walls
_WALL_HEIGHT = 5.0  # m
_PIXELS_PER_METRE = 64.0
_LEVELS = 5
_SKY = (226, 206, 186)  # BGR


@dataclass(frozen=True)
class Surface:
    """Holds a plane with a picture that repeats itself mirrored.

    levels: image pyramid, H x W x 3 uint8 BGR.
    origin: a point of the plane, where the picture's corner is.
    axes: 3 x 2 unit vectors along the picture's x and y.
    """

    levels: tuple[Array, ...]
    origin: Array
    axes: Array

    def depth(self, lens: Pinhole, pose: Pose) -> Array | None:
        """Return H x W float32 metres along the camera's axis, inf where a ray misses; None if all do."""
        normal = pose.rotation.T @ np.cross(self.axes[:, 0], self.axes[:, 1])
        distance = float(normal @ pose.to_camera(self.origin))
        width, height = lens.size
        columns = (np.arange(width) + 0.5 - width / 2) / lens.focal * normal[0] + normal[2]
        rows = (np.arange(height) + 0.5 - height / 2) / lens.focal * normal[1]
        slopes = (rows[:, None] + columns[None, :]).astype(np.float32) * np.float32(1 / distance)
        if float(slopes[[0, 0, -1, -1], [0, -1, 0, -1]].max()) <= 0:
            return None
        with np.errstate(divide="ignore"):
            return np.where(slopes > 1e-6, 1 / slopes, np.float32(np.inf))

    def paint(self, image: Array, mask: Array, depth: Array, lens: Pinhole, pose: Pose) -> None:
        """Paint the pixels of `mask`, each from the level of the pyramid that suits its distance."""
        # far away, a pixel of the picture covers many of the plane; this ignores that it is seen at a slant
        levels = np.full(depth.shape, -1, np.int8)
        step = depth[mask] * np.float32(_PIXELS_PER_METRE / lens.focal)
        levels[mask] = np.clip(np.log2(np.maximum(step, 1.0)) + 0.5, 0, _LEVELS - 1).astype(np.int8)
        axes = np.column_stack([pose.rotation.T @ self.axes, pose.to_camera(self.origin)])
        for level in range(_LEVELS):
            chosen = levels == level
            rows = np.flatnonzero(chosen.any(axis=1))
            if not len(rows):
                continue
            first, last = int(rows[0]), int(rows[-1]) + 1
            size = 2.0**level / _PIXELS_PER_METRE
            texture = np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]])
            picture = np.array([[1, 0, -0.5], [0, 1, -first - 0.5], [0, 0, 1.0]])
            matrix = picture @ lens.corner_matrix @ axes @ texture
            colours = cv2.warpPerspective(
                self.levels[level],
                matrix,
                (lens.size[0], last - first),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT,
            )
            cv2.copyTo(colours, chosen[first:last].view(np.uint8), image[first:last])


def _pyramid(picture: Array) -> tuple[Array, ...]:
    levels = [picture]
    while len(levels) < _LEVELS:
        levels.append(cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    return tuple(levels)


def _patchy(picture: Array, rng: np.random.Generator) -> Array:
    """Vary the brightness over some metres, as trodden grass and old walls do."""
    height, width = picture.shape[:2]
    light = cv2.resize(
        rng.uniform(0.75, 1.2, (9, 9)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return np.clip(picture * light[..., None], 0, 255).astype(np.uint8)


def build(rng: np.random.Generator) -> list[Surface]:
    """Build the lawn with a gravel path, and four brick walls."""
    side = int(2 * REACH * _PIXELS_PER_METRE) // 2  # mirrored once in each direction
    lawn = fill(tinted(photograph("grass.png")[..., 0], ((18, 42, 22), (52, 112, 72), (120, 190, 160))), (side, side))
    gravel = fill(
        tinted(photograph("gravel.png")[..., 0], ((48, 56, 66), (120, 138, 152), (205, 218, 226)), 0.8), (side, side)
    )
    along = np.arange(side, dtype=np.float32) / side
    middle = rng.uniform(0.3, 0.7) + 0.12 * np.sin(2 * math.pi * along + rng.uniform(0, 2 * math.pi))
    on_path = np.clip((0.06 - np.abs(along[:, None] - middle[None, :])) * side / 8 + 0.5, 0, 1)[..., None]
    ground = _patchy((gravel * on_path + lawn * (1 - on_path)).astype(np.uint8), rng)
    surfaces = [Surface(_pyramid(ground), np.array([-REACH, -REACH, 0.0]), np.eye(3)[:, :2])]
    bricks = tinted(photograph("brick.png")[..., 0], ((40, 52, 84), (72, 98, 150), (160, 178, 205)), 0.55)
    wall = _pyramid(_patchy(fill(bricks, (side // 2, int(_WALL_HEIGHT * _PIXELS_PER_METRE))), rng))
    up = np.array([0.0, 0.0, 1.0])
    for x, y in ((1, 0), (0, 1), (-1, 0), (0, -1)):
        across = np.array([float(-y), float(x), 0.0])
        surfaces.append(Surface(wall, REACH * np.array([float(x), float(y), 0.0]), np.column_stack([across, up])))
    return surfaces


def render(surfaces: Sequence[Surface], lens: Pinhole, pose: Pose) -> tuple[Array, Array]:
    """Render the surfaces of a room in which the camera is.

    Returns the image (H x W x 3 uint8 BGR) and the depth (H x W float32, metres along the axis, inf in the sky).
    """
    width, height = lens.size
    image = np.empty((height, width, 3), np.uint8)
    image[:] = _SKY
    depth = np.full((height, width), np.inf, np.float32)
    found = [(surface, surface.depth(lens, pose)) for surface in surfaces]
    seen = [(surface, there) for surface, there in found if there is not None]
    for _, there in seen:
        np.minimum(depth, there, out=depth)
    # height above the ground of each ray's end: walls are lower than the planes that they are on
    up = pose.rotation[2]
    columns = (np.arange(width) + 0.5 - width / 2) / lens.focal * up[0] + up[2]
    rows = (np.arange(height) + 0.5 - height / 2) / lens.focal * up[1]
    rise = (rows[:, None] + columns[None, :]).astype(np.float32)
    with np.errstate(invalid="ignore"):
        low = pose.position[2] + rise * depth <= _WALL_HEIGHT
    for surface, there in seen:
        mask = (there == depth) & low
        if mask.any():
            surface.paint(image, mask, depth, lens, pose)
    depth[~low] = np.inf
    return image, depth
