# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Predicts the motion of a target, also while it is hidden, and follows the distractors beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class MotionConfig:
    """Settings of how the velocity of a target or distractor follows its sightings."""

    velocity_gain: float = 0.3  # weight of a new displacement: a Kalman filter's steady-state gain, steady manoeuvres
    velocity_decay: float = 0.9  # factor for each frame without a sighting: hidden objects seldom keep their velocity
    steady: float = 0.15  # lengths; a target that is usually farther off than this is expected less exactly
    typical_gain: float = 0.2  # weight of a new sighting in how far off a target usually is


@dataclass(frozen=True)
class DistractorConfig:
    """Settings of which objects count as distractors. Distances are in lengths of the target."""

    min_distance: float = 0.75  # from the target; nearer detections are part of it
    match_distance: float = 0.5  # largest distance from its expected place to a sighting
    max_age: int = 15  # frames without a sighting before it is forgotten
    min_hits: int = 3  # sightings; with fewer it may be a false alarm


@dataclass
class Motion:
    """A motion with constant velocity.

    velocity: frame pixels a frame.
    time_since_update: frames since the last sure sighting.
    typical: running mean of how far sure sightings are from where they were expected, in lengths of the target.
    """

    velocity: Point = (0.0, 0.0)
    time_since_update: int = 0
    typical: float = 0.0

    def update(self, displacement: Point, config: MotionConfig, *, surely: bool = True) -> None:
        """Takes the displacement since the frame before, frame pixels."""
        (vx, vy), gain = self.velocity, config.velocity_gain
        self.velocity = (vx + gain * (displacement[0] - vx), vy + gain * (displacement[1] - vy))
        self.time_since_update = 0 if surely else self.time_since_update + 1

    def strangeness(self, off: float, config: MotionConfig) -> float:
        """Returns how strange it is to be so far off, in lengths, from the expected centre.

        It is the same number for a steady target, and less for one that often turns, or is seen at a low frame rate.
        """
        return off * min(1.0, config.steady / self.typical) if self.typical else off

    def remember(self, off: float, config: MotionConfig) -> None:
        """Takes in how far off, in lengths, a sure sighting is. More than a length counts as one."""
        self.typical += config.typical_gain * (min(off, 1.0) - self.typical)

    def coast(self, frames: int, config: MotionConfig) -> Point:
        """Returns the displacement to expect in a frame without a sighting; 0 after ``frames`` of them."""
        self.time_since_update += 1
        decay = config.velocity_decay if self.time_since_update <= frames else 0.0
        self.velocity = (self.velocity[0] * decay, self.velocity[1] * decay)
        return self.velocity


@dataclass
class Distractor:
    """An object beside the target that looks like it.

    centre: frame pixels.
    hits: number of sightings.
    """

    centre: Point
    motion: Motion
    hits: int = 1

    @property
    def expected(self) -> Point:
        """Its expected centre in the next frame, frame pixels."""
        return (self.centre[0] + self.motion.velocity[0], self.centre[1] + self.motion.velocity[1])


def owner(
    place: Point, expected: Point, distractors: Sequence[Distractor], length: float, config: DistractorConfig
) -> Distractor | None:
    """Returns the distractor that is more likely at this place than the target, or None.

    All lengths are in frame pixels.

    expected: the target's expected centre.
    length: of the target.
    """
    ours = math.dist(place, expected)
    known = [one for one in distractors if one.hits >= config.min_hits]
    nearest = min(known, key=lambda one: math.dist(one.expected, place), default=None)
    if nearest is None or math.dist(nearest.expected, place) > min(config.match_distance * length, ours):
        return None
    return nearest


def follow(
    distractors: Sequence[Distractor],
    places: Sequence[Point],
    target: Point | None,
    length: float,
    config: DistractorConfig,
    motion: MotionConfig,
    hidden: Point | None = None,
) -> list[Distractor]:
    """Returns the distractors in a new frame. All lengths are in frame pixels.

    places: centres of objects beside the target that look like it.
    target: its centre; None while unknown. Then a new object may be the target, so it does not become a distractor.
    length: of the target.
    hidden: the target's last centre. A distractor that passes there is forgotten, because the next object seen there
        may be the target.
    """
    met, apart = hidden if target is None else target, config.min_distance * length
    free = [place for place in places if target is None or math.dist(place, target) >= apart]
    kept = []
    for one in distractors:
        place = min(free, key=lambda place: math.dist(place, one.expected), default=None)
        if place is not None and math.dist(place, one.expected) <= config.match_distance * length:
            one.motion.update((place[0] - one.centre[0], place[1] - one.centre[1]), motion)
            one.centre, one.hits = place, one.hits + 1
            free.remove(place)
        else:
            dx, dy = one.motion.coast(config.max_age, motion)
            one.centre = (one.centre[0] + dx, one.centre[1] + dy)
        if one.motion.time_since_update <= config.max_age and (met is None or math.dist(one.centre, met) >= apart):
            kept.append(one)
    return kept if target is None else kept + [Distractor(place, Motion()) for place in free]
