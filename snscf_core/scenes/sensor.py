# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exposes a rendered frame: the light drifts, and the sensor adds noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .motions import Wave
from .plan import ScenePlan

Array = npt.NDArray[Any]
_NOISE_MARGIN = (61, 67)  # rows and columns that the noise extends beyond a frame, to draw a new part for each


@dataclass(frozen=True)
class Sensor:
    """Turns rendered colours into those of a camera.

    light, tint: factor on all channels, and shift from blue to red, over time.
    noise: int16 grey levels, `_NOISE_MARGIN` larger than a frame; None for none.
    """

    seed: int
    light: Wave
    tint: Wave
    noise: Array | None

    @classmethod
    def drawn(cls, plan: ScenePlan, noise: float) -> Sensor:
        """Draws the drift of the light and noise of that standard deviation in grey levels."""
        rng = plan.random(7)
        light = Wave(1.0, 0.16, 310, rng.uniform(0, 2 * math.pi))
        tint = Wave(0.0, 0.04, 230, rng.uniform(0, 2 * math.pi))
        if not noise:
            return cls(plan.seed, light, tint, None)
        width, height = plan.size
        bank = rng.normal(0, noise, (height + _NOISE_MARGIN[0], width + _NOISE_MARGIN[1], 3))
        return cls(plan.seed, light, tint, np.round(bank).astype(np.int16))

    def expose(self, image: Array, index: int) -> Array:
        """Returns frame ``index``, H x W x 3 uint8 BGR, as the camera sees it."""
        light, tint = float(self.light.at(index)), float(self.tint.at(index))
        gains = np.array([light * (1 - tint), light, light * (1 + tint)])
        table = np.clip(np.round(np.arange(256)[:, None] * gains), 0, 255).astype(np.uint8)
        image = cv2.LUT(image, table[:, None, :])
        if self.noise is None:
            return image
        dy, dx = np.random.default_rng([self.seed, 8, index]).integers(0, _NOISE_MARGIN)
        height, width = image.shape[:2]
        grain = np.ascontiguousarray(self.noise[dy : dy + height, dx : dx + width])
        return cv2.add(image, grain, dtype=cv2.CV_8U)
