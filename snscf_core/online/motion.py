# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a target is expected while it is hidden, and what moves beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]

_GAIN = 0.3  # of the velocity on a new displacement: a Kalman filter's in steady state, for steady manoeuvres
_DECAY = 0.9  # of the velocity for each frame unseen: what is hidden has mostly not gone on as before for long
_APART = 0.75  # sizes of the target that a distractor is away from it at least
_NEAR = 0.5  # sizes of the target from where a distractor is expected to where it is seen
_KEPT = 15  # frames for which a distractor that is not seen is remembered
_KNOWN = 3  # frames after which it is more than a false alarm


@dataclass
class Motion:
    """Constant velocity, in frame pixels for each frame; ``unseen``: frames since it was last seen for sure."""

    velocity: Point = (0.0, 0.0)
    time_since_update: int = 0

    def update(self, displacement: Point, *, surely: bool = True) -> None:
        """Takes the displacement since the frame before."""
        vx, vy = self.velocity
        self.velocity = (vx + _GAIN * (displacement[0] - vx), vy + _GAIN * (displacement[1] - vy))
        self.time_since_update = 0 if surely else self.time_since_update + 1

    def coast(self, frames: int) -> Point:
        """The displacement to expect for a frame in which the target was not seen; none after so many frames."""
        self.time_since_update += 1
        decay = _DECAY if self.time_since_update <= frames else 0.0
        self.velocity = (self.velocity[0] * decay, self.velocity[1] * decay)
        return self.velocity


@dataclass
class Distractor:
    """Something beside the target that looks like it. centre: in frame pixels. seen: number of frames."""

    centre: Point
    motion: Motion
    hits: int = 1

    @property
    def expected(self) -> Point:
        """Where it will be in the next frame."""
        return (self.centre[0] + self.motion.velocity[0], self.centre[1] + self.motion.velocity[1])


def owner(place: Point, expected: Point, distractors: Sequence[Distractor], size: float) -> Distractor | None:
    """The distractor that was to be expected at this place rather than the target, whose size is given, or None."""
    ours = math.dist(place, expected)
    known = [one for one in distractors if one.hits >= _KNOWN]
    nearest = min(known, key=lambda one: math.dist(one.expected, place), default=None)
    if nearest is None or math.dist(nearest.expected, place) > min(_NEAR * size, ours):
        return None
    return nearest


def follow(
    distractors: Sequence[Distractor],
    places: Sequence[Point],
    target: Point | None,
    size: float,
    hidden: Point | None = None,
) -> list[Distractor]:
    """The distractors in a new frame, of what was seen at these places beside the target.

    target: where it is, None while that is not known: then what is new may be the target, and is no distractor.
    hidden: where it was last. What passes there is forgotten: what is seen there next may be the target.
    """
    met = hidden if target is None else target
    free = [place for place in places if target is None or math.dist(place, target) >= _APART * size]
    kept = []
    for one in distractors:
        place = min(free, key=lambda place: math.dist(place, one.expected), default=None)
        if place is not None and math.dist(place, one.expected) <= _NEAR * size:
            one.motion.update((place[0] - one.centre[0], place[1] - one.centre[1]))
            one.centre, one.hits = place, one.hits + 1
            free.remove(place)
        else:
            dx, dy = one.motion.coast(_KEPT)
            one.centre = (one.centre[0] + dx, one.centre[1] + dy)
        if one.motion.time_since_update <= _KEPT and (met is None or math.dist(one.centre, met) >= _APART * size):
            kept.append(one)
    return kept if target is None else kept + [Distractor(place, Motion()) for place in free]
