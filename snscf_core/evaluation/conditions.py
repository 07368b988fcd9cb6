# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Changes a sequence as if filmed under other conditions: other light, a worse camera, fewer or smaller images.

Each function changes one frame at a time: ``(frame, index, rng) -> frame``, H x W x 3 uint8 BGR both. ``index`` counts
frames from the one with the given box. Only noise draws from ``rng``. The functions are pure: the same arguments give
the same frame. None calls another function of this module, so `Condition.fingerprint` covers all of its code.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ..crops import Frame
from .fingerprints import of_code

Change = Callable[[Frame, int, np.random.Generator], Frame]


def as_it_is(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Returns the frame itself."""
    return frame


def grey(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Keeps only the luminance, in all three channels."""
    return np.asarray(cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


def inverted_grey(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Inverts the luminance about mid-grey at 0.4 of its contrast (77 to 179), as a thermal camera may show it."""
    luminance = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.repeat(np.rint(127.5 + 0.4 * (127.5 - luminance)).astype(np.uint8)[..., None], 3, axis=2)


def dimming(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Multiplies all levels by a cosine that goes from 1 to 0.25 and back every 120 frames."""
    factor = 0.625 + 0.375 * np.cos(2 * np.pi * index / 120)
    return np.rint(frame * np.float32(factor)).astype(np.uint8)


def light_steps(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Multiplies all levels by 0.4 in every second block of 30 frames; the first block is unchanged."""
    return np.rint(frame * np.float32(0.4)).astype(np.uint8) if index // 30 % 2 else frame


def noise(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Adds Gaussian noise of sigma 20 levels, independently to each pixel and channel."""
    grain = rng.standard_normal(frame.shape, np.float32) * 20
    return np.clip(np.rint(frame + grain), 0, 255).astype(np.uint8)


def jpeg(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Compresses the frame as JPEG of quality 12."""
    _, file = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 12])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


def motion_blur(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Averages 9 neighbouring pixels in a row, as if the camera were panning."""
    return np.asarray(cv2.blur(frame, (9, 1)), np.uint8)


def half_size(frame: Frame, index: int, rng: np.random.Generator) -> Frame:
    """Halves width and height by area averaging."""
    return np.asarray(cv2.resize(frame, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


@dataclass(frozen=True)
class Condition:
    """Describes a condition.

    title: its name in tables and plots
    change: what happens to each frame
    step: distance in frames from one shown frame to the next
    scale: factor on the frames' width and height
    """

    name: str
    title: str
    change: Change
    step: int = 1
    scale: float = 1.0

    @property
    def fingerprint(self) -> str:
        """Returns a checksum of all that the frames depend on."""
        text = f"{of_code([inspect.getsource(self.change)])} {self.step} {self.scale}"
        return hashlib.sha256(text.encode()).hexdigest()[:8]


AS_IT_IS = Condition("as_it_is", "as it is", as_it_is)
CONDITIONS = {
    one.name: one
    for one in (
        AS_IT_IS,
        Condition("grey", "grey", grey),
        Condition("inverted_grey", "inverted grey, low contrast", inverted_grey),
        Condition("dimming", "dimmed to 1/4 and back", dimming),
        Condition("light_steps", "light steps × 0.4", light_steps),
        Condition("noise", "noise, sigma 20", noise),
        Condition("jpeg", "JPEG, quality 12", jpeg),
        Condition("motion_blur", "motion blur, 9 pixels", motion_blur),
        Condition("half_rate", "half the frame rate", as_it_is, step=2),
        Condition("half_size", "half the size", half_size, scale=0.5),
    )
}
