# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Update: how a target changes by its match, but for its filters."""

from __future__ import annotations

from .association import Match
from .confidence import TrackState
from .config import TrackerConfig
from .motion import Point, follow
from .target import Target, Track


def update_state(target: Target, match: Match, config: TrackerConfig) -> Track:
    """Changes the target by what was found, and returns where it is."""
    confidence, was_lost = target.confidence, target.confidence.lost
    if match.unverified:
        confidence.go_astray()
    strange = match.evidence.colour > config.confidence.found_strangeness
    state = confidence.observe(match.presence, config.confidence, strange=strange, elsewhere=match.elsewhere)
    score = match.accuracy
    if state == TrackState.LOST or (not confidence.lost and match.presence < config.confidence.coast_below):
        _coast(target, config, newly_lost=state == TrackState.LOST and not was_lost)
        score = min(score, config.hidden_score)  # the box is not that of the match
    else:
        _follow_match(target, match, state, config, was_lost=was_lost)
    if confidence.lost:
        target.searched += 1
    known = None if confidence.lost else target.centre
    hidden = target.centre if target.last_known is None else target.last_known[0]
    target.distractors = follow(
        target.distractors, match.distractors, known, target.length, config.distractors, config.motion, hidden
    )
    if confidence.lost:
        # The plan of the search stays the same for as long as the target is lost.
        target.lost_at = target.lost_at or target.last_known or (target.centre, target.size)
    return Track(target.box, score, state, match.candidate.quality)


def _coast(target: Target, config: TrackerConfig, *, newly_lost: bool) -> None:
    """Moves a target that was not found on as it moved before."""
    if target.last_known is not None:
        target.centre, target.size = target.last_known
        target.last_known = None
    dx, dy = target.motion.coast(config.coast, config.motion)
    if newly_lost:
        target.size = target.usual_size
    target.centre = _inside((target.centre[0] + dx, target.centre[1] + dy), target.size, target.frame_size)


def _follow_match(target: Target, match: Match, state: TrackState, config: TrackerConfig, *, was_lost: bool) -> None:
    """Moves the target to its match, and remembers what it looks like where it is surely the target."""
    target.size = _followed_size(target, match, state, config, was_lost=was_lost)
    if not target.confidence.lost:
        target.last_known, target.lost_at, target.searched = None, None, 0
    centre = _inside(match.candidate.centre, target.size, target.frame_size)
    displacement = (0.0, 0.0) if was_lost else (centre[0] - target.centre[0], centre[1] - target.centre[1])
    target.motion.update(displacement, config.motion, surely=state == TrackState.TRACKED)
    target.centre = centre
    if state != TrackState.TRACKED:
        return
    if not was_lost:
        target.colours.remember(match.colours, config.appearance)
        target.embedding.remember(match.candidate.embedding, config.appearance)
    (w, h), (usual_w, usual_h), rate = target.size, target.usual_size, config.usual_size_rate
    target.usual_size = (usual_w + rate * (w - usual_w), usual_h + rate * (h - usual_h))


def _followed_size(target: Target, match: Match, state: TrackState, config: TrackerConfig, *, was_lost: bool) -> Point:
    """Returns the new size of a target that was found. Remembers where a lost one was when it is first seen again."""
    size, rate = target.size, 0.0
    if was_lost and (match.elsewhere or target.last_known is None):
        target.last_known = target.last_known or (target.centre, target.size)
        size, rate = target.last_known[1], config.recovery.first_size_rate
        target.motion.velocity = (0.0, 0.0)
    elif was_lost or state == TrackState.TRACKED or match.presence >= config.confidence.tracked_above:
        rate = max(match.candidate.rate, config.recovery.verify_size_rate if was_lost else 0.0)
    w, h = (before + rate * (now - before) for before, now in zip(size, match.size, strict=True))
    return _limited((w, h), target.size, config.min_side, *target.frame_size)


def _limited(size: Point, old: Point, min_side: float, width: int, height: int) -> Point:
    """Returns the new size, or the old one where the new is too small or too large and the old was less so."""
    too_small = min(size) < min_side and min(size) < min(old)
    too_large = (size[0] > 1.5 * width or size[1] > 1.5 * height) and size[0] * size[1] > old[0] * old[1]
    return old if too_small or too_large else size


def _inside(centre: Point, size: Point, frame_size: tuple[int, int]) -> Point:
    """Returns the nearest centre with which a pixel of the box, each way, is in the frame."""
    x, y = (
        min(max(place, 1 - side / 2), length - 1 + side / 2)
        for place, side, length in zip(centre, size, frame_size, strict=True)
    )
    return (x, y)
