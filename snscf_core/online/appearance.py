# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares the appearance of a candidate with a target's: a check on the network, which knows shapes better.

Colours and the embedding (the network's features, averaged over the box) are both unit vectors and compared alike.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..crops import Frame

_BINS = (8, 16, 16)  # of L, a and b
_SIDE = 48  # pixels to which larger boxes are shrunk
_LIGHTS = (1.0, 0.71, 0.84, 1.19, 1.41)  # factors on the brightness under which colours are compared
_LIGHT_COST = 0.2  # added to the distance for each e-fold of brightness
_NEAR = (1.0, 0.84, 1.19)  # factors on a known change of the light under which colours are compared
_MOST_LIGHT = 5.0  # largest known change, and its inverse
_SAMPLES = 32  # pixels across and down from which the light is taken
_ALL = math.prod(_BINS)
Vectors = npt.NDArray[np.float32]


class Seen(NamedTuple):
    """What a box shows, as it is and in other light.

    vectors: K x D float32, unit vectors; the first is as it is.
    costs: K float32, added to the distances.
    """

    vectors: Vectors
    costs: Vectors

    @classmethod
    def of(cls, vector: Vectors) -> Seen:
        """Makes it of one unit vector (D)."""
        return cls(vector[None], np.zeros(1, np.float32))


@dataclass(frozen=True)
class MemoryConfig:
    """Settings of how fast the memory of a target's appearance changes."""

    update_rate: float = 0.05  # of the running average, for each frame in which the target is tracked
    max_sightings: int = 50  # most sightings that the typical distance averages over


@dataclass
class Memory:
    """One feature of a target's appearance: its value in the first frame, and its running average since.

    given: unit vector (D), float32, from the given box.
    recent: unit vector (D), float32, the running average.
    typical: mean distance of sure sightings, larger for targets that change more.
    count: number of sightings in that mean; the first ones are assumed.
    """

    given: Vectors
    recent: Vectors
    typical: float = 0.2
    count: int = 3

    @classmethod
    def of(cls, seen: Seen) -> Memory:
        """Makes the memory of a target from what its given box shows."""
        first = seen.vectors[0]
        return cls(first, first.copy())

    def strangeness(self, seen: Seen) -> float:
        """Returns the distance to the nearer memory minus the typical distance: Hellinger distances, -1 to 1.

        The light that matches best counts.
        """
        return self._distance(seen) - self.typical

    def remember(self, seen: Seen, config: MemoryConfig) -> None:
        """Takes a sure sighting of the target into the running averages."""
        rate = config.update_rate
        self.count = min(self.count + 1, config.max_sightings)
        self.typical += (self._distance(seen) - self.typical) / self.count
        recent = (1 - rate) * self.recent + rate * seen.vectors[0]
        self.recent = recent / np.linalg.norm(recent)

    def _distance(self, seen: Seen) -> float:
        likeness = np.maximum(seen.vectors @ self.given, seen.vectors @ self.recent)
        return float((np.sqrt(np.maximum(0.0, 1.0 - likeness)) + seen.costs).min())


@dataclass
class Light:
    """How bright it was around a target when its colours were remembered, as mean levels of 255.

    given: in the first frame.
    recent: running average since, at the rate of the colours.
    """

    given: float
    recent: float

    @classmethod
    def of(cls, level: float) -> Light:
        return cls(level, level)

    def changes(self, level: float) -> tuple[float, float]:
        """Returns the factors on the levels of a frame that is that bright, by which it gets the remembered light."""
        given, recent = (
            min(max(one / max(level, 1.0), 1 / _MOST_LIGHT), _MOST_LIGHT) for one in (self.given, self.recent)
        )
        return given, recent

    def remember(self, level: float, config: MemoryConfig) -> None:
        """Takes in how bright it is around a sure sighting of the target."""
        self.recent += config.update_rate * (level - self.recent)


def light(frame: Frame, centre: tuple[float, float], side: float) -> float:
    """Returns the mean level of a square of the frame; pixels outside the frame are those at its border."""
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    columns, rows = (
        np.clip(middle + side * steps, 0, length - 1).astype(np.intp)
        for middle, length in zip(centre, frame.shape[1::-1], strict=True)
    )
    return float(frame.take(rows, 0).take(columns, 1).mean())


def colours(frame: Frame, box: tuple[float, float, float, float], changes: Sequence[float] = ()) -> Seen:
    """Returns the colours inside the ellipse of a box (x, y, w, h), as they are and as they would be in other light.

    They are K x 2048: square roots of slightly blurred histograms over L*a*b* with 8 x 16 x 16 bins. A box outside the
    frame gets the colours of the nearest pixels.

    changes: by how much the light is known to have changed, from `Light.changes`. Light near these costs little too.
    """
    lights, costs = _lights(tuple(changes))
    x, y, w, h = box
    height, width = frame.shape[:2]
    left, top = int(min(max(round(x), 0), width - 1)), int(min(max(round(y), 0), height - 1))
    right, bottom = int(min(max(round(x + w), left + 1), width)), int(min(max(round(y + h), top + 1), height))
    shrink = max(1, max(right - left, bottom - top) // _SIDE)
    patch = np.ascontiguousarray(frame[top:bottom:shrink, left:right:shrink])
    rows, columns = patch.shape[:2]
    across = (left + (np.arange(columns) + 0.5) * shrink - x - w / 2) / (w / 2)
    down = (top + (np.arange(rows) + 0.5) * shrink - y - h / 2) / (h / 2)
    inside = across[None] ** 2 + down[:, None] ** 2 < 0.8
    if not inside.any():
        inside[:] = True
    # The pixels form one row, because OpenCV converts a row three times as fast as a column.
    pixels = patch.reshape(-1, 3).take(np.flatnonzero(inside), 0)[None]
    lit = np.concatenate([cv2.convertScaleAbs(pixels, alpha=light) for light in lights], 1)
    lightness, a, b = (np.asarray(one, np.uint8) for one in cv2.split(cv2.cvtColor(lit, cv2.COLOR_BGR2LAB)))
    # Bins of 32 levels of L, and of 16 of a and b.
    bins = (lightness.astype(np.uint16) & 0xE0) << 3 | a & 0xF0 | b >> 4
    places = bins.reshape(len(lights), -1) + _ALL * np.arange(len(lights))[:, None]
    found = np.bincount(places.reshape(-1), minlength=len(lights) * _ALL).astype(np.float32)
    # Blurring makes slightly different shades similar.
    of_l, of_a, of_b = (_blur(count) for count in _BINS)
    found = of_l @ found.reshape(-1, _BINS[0], _BINS[1] * _BINS[2])
    found = of_a @ found.reshape(-1, *_BINS[1:])
    found = found.reshape(-1, _BINS[2]) @ of_b
    found = np.sqrt(found.reshape(len(lights), -1))
    return Seen(np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32), costs)


def _lights(changes: tuple[float, ...]) -> tuple[list[float], Vectors]:
    """Returns the factors on the brightness under which colours are compared, and what each of them costs."""
    known = [change for change in changes if not min(_LIGHTS) <= change <= max(_LIGHTS)]
    lights = [*_LIGHTS, *(change * near for change in known for near in _NEAR)]
    steps = [min(abs(math.log(light / base)) for base in (1.0, *known)) for light in lights]
    return lights, np.array(steps, np.float32) * np.float32(_LIGHT_COST)


@functools.cache
def _blur(bins: int) -> Vectors:
    """Returns a symmetric bins x bins matrix that blurs by 1/4, 1/2, 1/4; the end bins keep what would fall outside."""
    kernel = 0.5 * np.eye(bins) + 0.25 * (np.eye(bins, k=1) + np.eye(bins, k=-1))
    kernel[0, 0] = kernel[-1, -1] = 0.75
    return kernel.astype(np.float32)
