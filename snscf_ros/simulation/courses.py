# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plans where the target and its look-alikes walk, and when something hides the target."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from snscf_core.scenes.motions import Wave

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Course:
    """Walks on the ground without end: x and y over the time in seconds, in metres."""

    x: Wave
    y: Wave

    @classmethod
    def drawn(cls, rng: np.random.Generator, centre: tuple[float, float], reach: float, speed: float) -> Course:
        """Draw a course around `centre` that goes `reach` metres away from it, at up to `speed` m/s."""
        x, y = (
            Wave(
                middle,
                reach,
                2 * math.pi * reach * math.sqrt(2) / speed * stretch * rng.uniform(1.0, 1.3),
                rng.uniform(0, 2 * math.pi),
            )
            for middle, stretch in zip(centre, rng.permutation([1.0, 1.5]), strict=True)
        )
        return cls(x, y)

    def at(self, time: float) -> Array:
        """Return the place on the ground, (3,)."""
        return np.array([float(self.x.at(time)), float(self.y.at(time)), 0.0])

    def velocity(self, time: float) -> Array:
        """Return metres a second, (3,)."""
        return np.asarray((self.at(time + 0.01) - self.at(time - 0.01)) / 0.02)


@dataclass(frozen=True)
class Passing:
    """Passes another course once, in a straight line as that one sees it.

    time: when it is nearest.
    offset: from the other course then, (3,) metres.
    velocity: relative to it, (3,) m/s.
    """

    course: Course
    time: float
    offset: Array
    velocity: Array

    @classmethod
    def drawn(cls, rng: np.random.Generator, course: Course, time: float) -> Passing:
        """Draw a walk that passes `course` at about `time`, at a distance of about a metre."""
        heading, speed = rng.uniform(0, 2 * math.pi), rng.uniform(0.4, 0.7)
        ahead = np.array([math.cos(heading), math.sin(heading), 0.0])
        beside = np.array([-ahead[1], ahead[0], 0.0]) * rng.choice((-1, 1)) * rng.uniform(0.9, 1.3)
        return cls(course, time, beside, speed * ahead)

    def at(self, time: float) -> Array:
        """Return the place on the ground, (3,)."""
        return np.asarray(self.course.at(time) + self.offset + self.velocity * (time - self.time))


@dataclass(frozen=True)
class Occlusion:
    """Says when something passes between the camera and the target.

    start: the time in seconds from which the target is hidden.
    seconds: for how long it is wholly hidden.
    """

    start: float
    seconds: float = 2.0
