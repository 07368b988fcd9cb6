# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Builds a world with a target that walks, and renders what a camera sees in it, with the truth.

The photographs are those of `snscf_core.scenes`. Everything follows from a seed, the time and the camera's pose: the
same three give the same view.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core.scenes.motions import Wave
from snscf_core.scenes.photographs import cup_outline, fill, glazed, photograph, tinted
from snscf_core.scenes.polygons import Box, area, tight_box
from snscf_core.scenes.sprites import lay
from snscf_ros.simulation import surroundings
from snscf_ros.simulation.boards import Board, Drawn, Standing
from snscf_ros.simulation.courses import Course, Occlusion, Passing
from snscf_ros.simulation.pinhole import Pinhole, Pose

Array = npt.NDArray[Any]

# Colours of the look-alikes: shift of the hue (of 180), factors for saturation and brightness.
_GLAZES = ((108, 0.75, 1.0), (75, 0.55, 0.9), (17, 0.95, 1.25), (140, 0.6, 0.95))
_COVER_PLACE = 0.75  # where what hides the target passes, as a share of the way from the camera to it
_COVER_SPEED = 0.6  # m/s across the line of sight
_COVER_HEIGHT = 2.2  # m
_COVER_SPARE = 0.1  # m by which it is wider than it must be


@dataclass(frozen=True)
class View:
    """Holds what a camera sees at one moment, and the truth.

    time: in seconds from the world's beginning.
    image: H x W x 3 uint8 BGR.
    depth: H x W float32, metres along the optical axis, as depth cameras give it; inf where nothing is.
    box: tight (x, y, w, h) of the target in the image, hidden or not; pixel i covers [i, i + 1). NaN if it is outside.
    visible: share of the target's area that can be seen, 0 to 1.
    pose: of the camera in the world.
    target: the middle of the target in the world, (3,) metres. In the optical frame: `pose.to_camera(target)`.
    velocity: of the target in the world, (3,) m/s.
    """

    time: float
    image: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32]
    box: Box
    visible: float
    pose: Pose
    target: npt.NDArray[np.float64]
    velocity: npt.NDArray[np.float64]


class World:
    """Stands for a walled lawn on which a target, a big cup, walks about.

    course: where the target walks.
    target_size: its true width and height in metres.
    """

    def __init__(
        self,
        seed: int,
        lens: Pinhole,
        *,
        centre: tuple[float, float] = (0.0, 0.0),
        reach: float = 5.0,
        speed: float = 0.8,
        target_width: float = 0.8,
        turning: float = 0.3,
        look_alikes: int = 2,
        occlusions: Sequence[Occlusion] = (),
        seconds: float = 30.0,
        noise: float = 2.5,
    ) -> None:
        """Build the world.

        lens: of the camera.
        centre, reach: the middle of the target's course, and how far it goes from there in x and y; in metres.
        speed: of the target, at most; m/s.
        target_width: metres; the height follows.
        turning: angle in radians by which the target turns from side to side, instead of facing the camera.
        look_alikes: how many cups of other colours pass the target, 0 to 4.
        occlusions: when something hides the target.
        seconds: over which the look-alikes' passes are spread.
        noise: standard deviation of the sensor's noise in grey levels.
        Raises ValueError for arguments out of range, and FileNotFoundError without scikit-image's photographs.
        """
        if not 0 <= look_alikes <= len(_GLAZES):
            raise ValueError(f"look_alikes must be from 0 to {len(_GLAZES)}, got {look_alikes}")
        if not (speed > 0 and target_width > 0 and seconds > 0 and noise >= 0):
            raise ValueError("speed, target_width and seconds must be positive, and noise must not be negative")
        if not 0 < reach + max(map(abs, centre)) < surroundings.REACH - 4:
            raise ValueError(f"the course must stay {surroundings.REACH - 4:g} m from the middle of the world")
        self.lens = lens
        self._seed = seed
        rng = np.random.default_rng([seed, 0])
        self.course = Course.drawn(rng, centre, reach, speed)
        self._turn = Wave(0.0, turning, rng.uniform(7.0, 11.0), rng.uniform(0, 2 * math.pi))
        cup, outline = photograph("coffee.png"), cup_outline()
        self._target = Board.cut(cup, outline, target_width)
        self.target_size = self._target.size
        self._others = []
        for number in range(look_alikes):
            time = seconds * (number + 0.4 + 0.3 * rng.uniform()) / look_alikes
            board = Board.cut(glazed(cup, *_GLAZES[number]), outline, target_width)
            self._others.append((board, Passing.drawn(rng, self.course, time)))
        self._covers = [(one, self._cover(one), float(rng.choice((-1, 1)))) for one in occlusions]
        self._surfaces = surroundings.build(np.random.default_rng([seed, 1]))
        width, height = lens.size
        grain = np.random.default_rng([seed, 2]).normal(0, noise, (height + 61, width + 67, 3))
        self._grain = np.round(grain).astype(np.int16) if noise else None

    def view(self, pose: Pose, time: float) -> View:
        """Render what the camera sees from `pose` at `time` in seconds."""
        image, depth = surroundings.render(self._surfaces, self.lens, pose)
        foot = self.course.at(time)
        target = Standing.facing(self._target, foot, pose.position, float(self._turn.at(time)))
        boards = [target, *self._passers(pose, time), *self._hiding(pose, time, target)]
        boards.sort(key=lambda one: -float(np.linalg.norm((one.foot - pose.position)[:2])))
        seen: Drawn | None = None
        shown = np.zeros(0, np.float32)
        for board in boards:
            drawn = board.draw(self.lens, pose, depth)
            if drawn is None or drawn.layer is None:
                seen = drawn if board is target else seen
                continue
            lay(image, drawn.layer)
            if board is target:
                seen, shown = drawn, drawn.layer.pixels[..., 3].astype(np.float32)
            elif seen is not None and seen.layer is not None:
                shown *= 1 - drawn.layer.opacity_on(seen.layer)
        box: Box = (math.nan, math.nan, math.nan, math.nan)
        visible = 0.0
        if seen is not None:
            box = tight_box(seen.outline, self.lens.size)
            visible = min(float(shown.sum()) / 255 / max(area(seen.outline), 1e-9), 1.0)
        return View(
            time, self._exposed(image, time), depth, box, visible, pose, target.middle, self.course.velocity(time)
        )

    def _passers(self, pose: Pose, time: float) -> list[Standing]:
        places = [(board, walk.at(time)) for board, walk in self._others]
        inside = surroundings.REACH - 1
        return [
            Standing.facing(board, foot, pose.position) for board, foot in places if np.abs(foot[:2]).max() < inside
        ]

    def _cover(self, occlusion: Occlusion) -> Board:
        """Make a brick board just wide enough to hide the target for that long."""
        width = _COVER_SPEED * occlusion.seconds + self.target_size[0] * _COVER_PLACE + _COVER_SPARE
        pixels = 128.0  # a metre
        size = math.ceil(width * pixels) + 16, math.ceil(_COVER_HEIGHT * pixels) + 16
        bricks = fill(
            tinted(photograph("brick.png")[..., 0], ((30, 38, 62), (58, 78, 140), (150, 165, 190)), 0.55), size
        )
        low, right, high = 8.0, 8 + width * pixels, 8 + _COVER_HEIGHT * pixels
        return Board.cut(bricks, np.array([[low, low], [right, low], [right, high], [low, high]]), width)

    def _hiding(self, pose: Pose, time: float, target: Standing) -> list[Standing]:
        """Place what hides the target now. It follows the line of sight, so that it hides whatever the camera does."""
        placed = []
        sight = target.foot - pose.position
        across = np.array([sight[1], -sight[0], 0.0]) / math.hypot(sight[0], sight[1])
        for occlusion, board, side in self._covers:
            shift = side * _COVER_SPEED * (time - occlusion.start - occlusion.seconds / 2)
            if abs(shift) < 6.0:
                foot = pose.position + _COVER_PLACE * sight + shift * across
                placed.append(Standing(board, np.array([foot[0], foot[1], 0.0]), across))
        return placed

    def _exposed(self, image: Array, time: float) -> Array:
        if self._grain is None:
            return image
        y, x = np.random.default_rng([self._seed, 3, round(time * 1e6)]).integers(0, (61, 67))
        height, width = image.shape[:2]
        grain = np.ascontiguousarray(self._grain[y : y + height, x : x + width])
        return cv2.add(image, grain, dtype=cv2.CV_8U)
