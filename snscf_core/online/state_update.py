# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Update: change a target according to its match, except for its filters."""

from __future__ import annotations

import math

from .appearance import Seen
from .association import Match
from .confidence import TrackState
from .config import TrackerConfig
from .motion import Point, follow
from .target import Target, Track, box_around


def update_state(target: Target, match: Match, config: TrackerConfig) -> Track:
    """Updates the target from its match, and returns its track."""
    confidence, searched_for = target.confidence, target.confidence.searching
    if match.unverified:
        confidence.go_astray()
    strange = match.evidence.colour > config.confidence.found_strangeness
    state = confidence.observe(match.presence, config.confidence, strange=strange, elsewhere=match.elsewhere)
    score, shown = match.accuracy, 0.0
    if state == TrackState.LOST or (not confidence.searching and match.presence < config.confidence.coast_below):
        _coast(target, config, newly_lost=state == TrackState.LOST and not searched_for)
        score = min(score, config.hidden_score)  # the box is not that of the match
    else:
        _follow_match(target, match, state, config, searched_for=searched_for)
        shown = config.shown_size_rate
    if confidence.searching:
        target.searched += 1
    if state == TrackState.TRACKED:
        target.unlearned += 1
        target.unrenewed += 1
    known = None if confidence.searching else target.centre
    hidden = target.centre if target.last_known is None else target.last_known[0]
    target.distractors = follow(
        target.distractors, match.distractors, known, target.length, config.distractors, config.motion, hidden
    )
    if confidence.searching:
        # Set once, so that the plan of the search does not change while the target is lost.
        target.lost_at = target.lost_at or target.last_known or (target.centre, target.size)
    # The size that the next search relies on changes slowly. What is shown need not, and so is nearer to the truth.
    size = limited(_between(target.size, match.size, shown), target.size, config.min_side, *target.frame_size)
    centre = _inside(target.centre, size, target.frame_size)
    return Track(box_around(centre, size), score, state, match.candidate.quality)


def _coast(target: Target, config: TrackerConfig, *, newly_lost: bool) -> None:
    """Moves a target that was not found along its previous motion."""
    target.seen = False
    if target.last_known is not None:
        target.centre, target.size = target.last_known
        target.last_known = None
    dx, dy = target.motion.coast(config.coast, config.motion)
    if newly_lost:
        target.size = target.usual_size
    target.centre = _inside((target.centre[0] + dx, target.centre[1] + dy), target.size, target.frame_size)


def _follow_match(
    target: Target, match: Match, state: TrackState, config: TrackerConfig, *, searched_for: bool
) -> None:
    """Moves the target to its match. While it is tracked, also remembers what it looks like."""
    target.seen = True
    if searched_for and (match.elsewhere or target.last_known is None):
        size = _size_at_first_sight(target, match, config)
    else:
        size = _followed_size(target, match, state, config, searched_for=searched_for)
    target.size = limited(size, target.size, config.min_side, *target.frame_size)
    if not target.confidence.searching:
        target.last_known, target.lost_at, target.searched, target.places_searched = None, None, 0, 0
    centre = _inside(match.candidate.centre, target.size, target.frame_size)
    displacement = (0.0, 0.0) if searched_for else (centre[0] - target.centre[0], centre[1] - target.centre[1])
    if state == TrackState.TRACKED and not searched_for:
        target.motion.remember(math.dist(centre, target.expected) / target.length, config.motion)
    target.motion.update(displacement, config.motion, surely=state == TrackState.TRACKED)
    target.centre = centre
    if state != TrackState.TRACKED:
        return
    if not searched_for:
        target.colours.remember(match.colours, config.appearance)
        target.embedding.remember(Seen.of(match.candidate.embedding), config.appearance)
        if target.light is not None:
            target.light.remember(match.light, config.appearance)
    (w, h), (usual_w, usual_h), rate = target.size, target.usual_size, config.usual_size_rate
    target.usual_size = (usual_w + rate * (w - usual_w), usual_h + rate * (h - usual_h))


def _size_at_first_sight(target: Target, match: Match, config: TrackerConfig) -> Point:
    """Remembers where a lost target was when it is first seen again, and returns its size there."""
    target.last_known = target.last_known or (target.centre, target.size)
    target.motion.velocity = (0.0, 0.0)
    return _between(target.last_known[1], match.size, config.recovery.first_size_rate)


def _followed_size(
    target: Target, match: Match, state: TrackState, config: TrackerConfig, *, searched_for: bool
) -> Point:
    """Returns the size of a target that follows its match; it stays while the target is uncertain."""
    rate = 0.0
    if searched_for or state == TrackState.TRACKED or match.presence >= config.confidence.tracked_above:
        rate = max(match.candidate.rate, config.recovery.verify_size_rate if searched_for else 0.0)
    return _between(target.size, match.size, rate)


def _between(before: Point, now: Point, rate: float) -> Point:
    """Returns the size that lies this share of the way from one to the other."""
    w, h = (old + rate * (new - old) for old, new in zip(before, now, strict=True))
    return (w, h)


def limited(size: Point, old: Point, min_side: float, width: int, height: int) -> Point:
    """Returns the new size, or the old one if the new is too small or too large and the old was less so."""
    too_small = min(size) < min_side and min(size) < min(old)
    too_large = (size[0] > 1.5 * width or size[1] > 1.5 * height) and size[0] * size[1] > old[0] * old[1]
    return old if too_small or too_large else size


def _inside(centre: Point, size: Point, frame_size: tuple[int, int]) -> Point:
    """Returns the nearest centre for which at least a pixel of the box, across and down, is in the frame."""
    x, y = (
        min(max(place, 1 - side / 2), length - 1 + side / 2)
        for place, side, length in zip(centre, size, frame_size, strict=True)
    )
    return (x, y)
