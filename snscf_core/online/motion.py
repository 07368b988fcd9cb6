# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a target is expected while it is hidden, where to look for it when it is lost, and what moves beside it."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..crops import TEMPLATE_SIZE, context_side

Point = tuple[float, float]

_GAIN = 0.3  # of the velocity on a new displacement: a Kalman filter's in steady state, for steady manoeuvres
_DECAY = 0.9  # of the velocity for each frame unseen: what is hidden has mostly not gone on as before for long
_STEP = 0.7  # of a search region from one place looked at to the next
SCALES = (1.0, 0.7, 1.6)  # of a lost target's size that is searched for; each finds what is 0.7 to 2 times as large
_MOST_PLACES = 4096  # of each kind, for a target so small that its search regions are
_APART = 0.75  # sizes of the target that a distractor is away from it at least
_NEAR = 0.5  # sizes of the target from where a distractor is expected to where it is seen
_KEPT = 15  # frames for which a distractor that is not seen is remembered
_KNOWN = 3  # frames after which it is more than a false alarm


@dataclass
class Motion:
    """Constant velocity, in frame pixels for each frame; ``unseen``: frames since it was last seen for sure."""

    velocity: Point = (0.0, 0.0)
    unseen: int = 0

    def seen(self, displacement: Point, *, surely: bool = True) -> None:
        """Takes the displacement since the frame before."""
        vx, vy = self.velocity
        self.velocity = (vx + _GAIN * (displacement[0] - vx), vy + _GAIN * (displacement[1] - vy))
        self.unseen = 0 if surely else self.unseen + 1

    def coast(self, frames: int) -> Point:
        """The displacement to expect for a frame in which the target was not seen; none after so many frames."""
        self.unseen += 1
        decay = _DECAY if self.unseen <= frames else 0.0
        self.velocity = (self.velocity[0] * decay, self.velocity[1] * decay)
        return self.velocity


@dataclass
class Distractor:
    """Something beside the target that looks like it. centre: in frame pixels. seen: number of frames."""

    centre: Point
    motion: Motion
    seen: int = 1

    @property
    def expected(self) -> Point:
        """Where it will be in the next frame."""
        return (self.centre[0] + self.motion.velocity[0], self.centre[1] + self.motion.velocity[1])


def owner(place: Point, expected: Point, distractors: Sequence[Distractor], size: float) -> Distractor | None:
    """The distractor that was to be expected at this place rather than the target, whose size is given, or None."""
    ours = math.dist(place, expected)
    known = [one for one in distractors if one.seen >= _KNOWN]
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
            one.motion.seen((place[0] - one.centre[0], place[1] - one.centre[1]))
            one.centre, one.seen = place, one.seen + 1
            free.remove(place)
        else:
            dx, dy = one.motion.coast(_KEPT)
            one.centre = (one.centre[0] + dx, one.centre[1] + dy)
        if one.motion.unseen <= _KEPT and (met is None or math.dist(one.centre, met) >= _APART * size):
            kept.append(one)
    return kept if target is None else kept + [Distractor(place, Motion()) for place in free]


def place(
    number: int, size: Point, frame_size: tuple[int, int], last: Point, search_size: int
) -> tuple[Point, float]:
    """Where to look for a lost target the ``number``-th time, from 0: centre and scale of a search region.

    Regions are those of the tracker's search crop, times ``SCALES``, and overlap. Every other one is of the first
    scale; both kinds go through the whole frame again and again, from the nearest place on, or through the nearest
    4,096 places if there are more. size: of the target. last: where it was last believed to be. All in pixels of the
    frame, but for the search crop's own ``search_size``.
    """
    again, other = divmod(number, 2)
    found = _places(SCALES[1:] if other else SCALES[:1], size, frame_size, last, search_size)
    return found[again % len(found)]


@functools.lru_cache(maxsize=64)
def _places(
    scales: tuple[float, ...], size: Point, frame_size: tuple[int, int], last: Point, search_size: int
) -> list[tuple[Point, float]]:
    """Those of these scales, the nearest first; computed once for as long as a target is lost."""
    grids = []
    for scale in scales:
        side = scale * context_side(*size) * search_size / TEMPLATE_SIZE
        columns, rows = (max(round(length / (side * _STEP)), math.ceil(length / side)) for length in frame_size)
        x = (np.arange(columns) + 0.5) * frame_size[0] / columns
        y = (np.arange(rows) + 0.5) * frame_size[1] / rows
        away = np.hypot(x - last[0], y[:, None] - last[1])
        near = np.argsort(away, axis=None, kind="stable")[:_MOST_PLACES]
        grids.append(np.stack([away.flat[near], x[near % columns], y[near // columns], np.full(len(near), scale)], 1))
    found = np.concatenate(grids)
    nearest = np.argsort(found[:, 0], kind="stable")[:_MOST_PLACES]
    return [((x, y), scale) for _, x, y, scale in found[nearest].tolist()]
