# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the ground of a scene, over which the camera pans."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .motions import Wave
from .photographs import fill, photograph, tinted
from .plan import ScenePlan

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Ground:
    """Shows a lawn with a gravel path.

    picture: H x W x 3 uint8 BGR, larger than a frame.
    pan: x and y of the frame's top-left corner in it.
    """

    picture: Array
    pan: tuple[Wave, Wave]

    def at(self, time: float, size: tuple[int, int]) -> Array:
        """Renders the part inside a frame of ``size`` (width, height)."""
        x, y = (float(wave.at(time)) for wave in self.pan)
        return cv2.warpAffine(self.picture, np.array([[1.0, 0, -x], [0, 1.0, -y]]), size, flags=cv2.INTER_LINEAR)


def lay_ground(plan: ScenePlan) -> Ground:
    """Draws the ground and the camera's pan."""
    rng = plan.random(4)
    reach = 0.11 * plan.short
    width, height = (math.ceil(side + 2 * reach) + 4 for side in plan.size)
    lawn = fill(
        tinted(photograph("grass.png")[..., 0], ((18, 42, 22), (52, 112, 72), (120, 190, 160))), (width, height)
    )
    gravel = photograph("gravel.png")[..., 0]
    path = fill(tinted(gravel, ((48, 56, 66), (120, 138, 152), (205, 218, 226)), 0.8), (width, height))
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    lean, bend = rng.uniform(-0.5, 0.5), rng.uniform(0, 2 * math.pi)
    along, across = xs / width - 0.5, ys / height - 0.5
    centre = lean * along + 0.16 * np.sin(5.2 * along + bend) + rng.uniform(-0.12, 0.12)
    edge = (np.abs(across - centre) - 0.23) * height
    ragged = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 3) * 40
    share = np.clip(0.5 - (edge + ragged) / 4, 0, 1)[..., None]
    ground = path * share + lawn * (1 - share)
    patches = cv2.resize(
        rng.uniform(0.8, 1.15, (5, 6)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    waves = [
        Wave((big - side) / 2, reach, period / plan.speed, rng.uniform(0, 2 * math.pi))
        for big, side, period in ((width, plan.size[0], 420.0), (height, plan.size[1], 330.0))
    ]
    return Ground(np.clip(ground * patches[..., None], 0, 255).astype(np.uint8), (waves[0], waves[1]))
