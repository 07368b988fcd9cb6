# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plan: choose the regions of a new frame in which to search for a target."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from ..crops import TEMPLATE_SIZE, Frame, context_side
from ..model.geometry import STRIDE
from .confidence import TrackState
from .config import RecoveryConfig, TrackerConfig
from .mode import Mode
from .motion import Point
from .target import Target


class Region(NamedTuple):
    """A search region: a square part of a frame, for a target of an assumed size. All lengths in frame pixels.

    frame: H x W x 3 uint8 BGR.
    centre: of the square.
    size: width and height that the target is assumed to have.
    side: of the square.
    elsewhere: whether it is a place away from the target's own, where a lost target may be.
    """

    frame: Frame
    centre: Point
    size: Point
    side: float
    elsewhere: bool = False


def plan(frame: Frame, target: Target, config: TrackerConfig, mode: Mode) -> list[Region]:
    """Returns the regions to search: the one around the target first, then those elsewhere for a lost target.

    A lost target is searched for elsewhere in every ``search_interval``-th frame.
    """
    if not (target.confidence.searching and mode.uses_proposals):
        return [region(frame, target.centre, target.size, config)]
    _, (w, h) = target.last_known or (target.centre, target.size)

    def scaled(scale: float) -> Point:
        return (w * scale, h * scale)

    size = target.size
    if target.confidence.state == TrackState.LOST:
        scales = config.recovery.scales
        size = scaled(scales[target.searched % len(scales)])
    around = region(frame, target.centre, size, config)
    if target.searched % config.search_interval:
        return [around]
    # The search spreads from where it began; a target saved by an earlier version may not know that place.
    origin, size_there = target.lost_at or target.last_known or (target.centre, target.size)
    places = [
        place(number, size_there, target.frame_size, origin, config)
        for number in range(target.places_searched, target.places_searched + config.search_places)
    ]
    return [
        around,
        *(region(frame, centre, scaled(scale), config)._replace(elsewhere=True) for centre, scale in places),
    ]


def region(frame: Frame, centre: Point, size: Point, config: TrackerConfig) -> Region:
    """Returns the search region around a centre for a target of that size, both in frame pixels."""
    return Region(frame, centre, size, context_side(*size) * config.search_size / TEMPLATE_SIZE)


def cell(one: Region, config: TrackerConfig) -> float:
    """Returns the distance between neighbouring cells of the features, in frame pixels.

    It is less than the side divided by the number of cells, because the cells do not fill the crop.
    """
    return STRIDE * one.side / config.search_size


def place(
    number: int, size: Point, frame_size: tuple[int, int], last: Point, config: TrackerConfig
) -> tuple[Point, float]:
    """Returns centre and scale of the ``number``-th search region for a lost target, from 0.

    Every other region has the first of the scales. Both kinds go through the whole frame again and again, the nearest
    place first; through the nearest ``max_places`` if there are more. Neighbours overlap.

    size: of the target, frame pixels.
    last: its last believed centre, frame pixels.
    """
    again, other = divmod(number, 2)
    scales = config.recovery.scales
    found = _places(scales[1:] if other else scales[:1], size, frame_size, last, config.search_size, config.recovery)
    return found[again % len(found)]


@functools.lru_cache(maxsize=64)
def _places(
    scales: tuple[float, ...],
    size: Point,
    frame_size: tuple[int, int],
    last: Point,
    search_size: int,
    config: RecoveryConfig,
) -> list[tuple[Point, float]]:
    """Returns the places of these scales, the nearest first. Cached, so a lost target costs them once."""
    grids = []
    for scale in scales:
        side = scale * context_side(*size) * search_size / TEMPLATE_SIZE
        columns, rows = (max(round(length / (side * config.step)), math.ceil(length / side)) for length in frame_size)
        x = (np.arange(columns) + 0.5) * frame_size[0] / columns
        y = (np.arange(rows) + 0.5) * frame_size[1] / rows
        away = np.hypot(x - last[0], y[:, None] - last[1])
        near = np.argsort(away, axis=None, kind="stable")[: config.max_places]
        grids.append(np.stack([away.flat[near], x[near % columns], y[near // columns], np.full(len(near), scale)], 1))
    found = np.concatenate(grids)
    nearest = np.argsort(found[:, 0], kind="stable")[: config.max_places]
    return [((x, y), scale) for _, x, y, scale in found[nearest].tolist()]
