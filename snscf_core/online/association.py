# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Associate: decide which candidate is the target, and how probable that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..crops import SEARCH_SIZE
from .appearance import Seen, colours, light
from .confidence import Calibration, Evidence
from .config import RecoveryConfig, TrackerConfig
from .inference import Candidate
from .mode import Mode
from .motion import Point, owner
from .target import Target


@dataclass(frozen=True)
class Match:
    """The candidate that was chosen as the target.

    size: width and height of its box, frame pixels.
    presence: probability that it is on the target, however loosely (IoU above 0.1).
    accuracy: probability that its box overlaps the target by more than half (IoU).
    colours: in its box, see `appearance.colours`.
    light: mean level around the target, see `appearance.light`.
    elsewhere: whether it is outside the region around the target.
    unverified: whether it is another candidate than the top-ranked.
    distractors: centres of the other candidates that look like a target.
    """

    candidate: Candidate
    size: Point
    evidence: Evidence
    presence: float
    accuracy: float
    colours: Seen
    light: float
    elsewhere: bool = False
    unverified: bool = False
    distractors: tuple[Point, ...] = ()


def associate(
    target: Target,
    candidates: Sequence[Candidate],
    config: TrackerConfig,
    mode: Mode,
    calibrations: Mapping[str, Calibration],
) -> Match:
    """Chooses the candidate that is the target; changes nothing.

    For a tracked target, takes the top-ranked candidate that is not a known distractor. If its presence probability is
    too low, takes the most probable one and marks the match unverified. For a lost target, takes the most probable one.

    candidates: at least one, those of the region around the target first.
    """
    searching = target.confidence.searching
    verifying = target.confidence.looking > 0
    ours = [one for one in candidates if not _is_distractor(target, one, config)]
    around = candidates[0].region
    level = light(around.frame, around.centre, around.side)
    matches: list[Match] = []  # the top-ranked one first
    for candidate in ours or candidates:
        expected = not candidate.region.elsewhere and (not searching or verifying)
        if expected and searching and matches:
            continue  # in the place that is being verified, only the best candidate counts
        prior = 0.0 if ours else config.distractor_logit
        if not expected:
            prior -= _distance_penalty(target, candidate, config)
            prior -= config.recovery.switch_margin if verifying else 0.0
        calibration = calibrations[mode.name if expected or not mode.uses_proposals else "searching"]
        matches.append(_judged(target, candidate, calibration, prior, level, config))
        if not searching and matches[0].presence >= config.confidence.uncertain_below:
            break  # it is well matched, so lower ranks need not be judged
    best = max(matches, key=lambda match: match.presence)
    return replace(
        best,
        elsewhere=best.candidate.region.elsewhere,
        unverified=not searching and best is not matches[0],
        distractors=tuple(
            one.centre
            for one in candidates
            if one is not best.candidate and one.classification >= config.distractor_above
        ),
    )


def _is_distractor(target: Target, candidate: Candidate, config: TrackerConfig) -> bool:
    found = owner(candidate.centre, target.expected, target.distractors, target.length, config.distractors)
    return found is not None


def _distance_penalty(target: Target, candidate: Candidate, config: TrackerConfig) -> float:
    """Returns the penalty on the logit of a candidate that is too far from the target's last centre."""
    last = target.centre if target.last_known is None else target.last_known[0]
    away = math.dist(candidate.centre, last) / candidate.region.side * (config.search_size / SEARCH_SIZE)
    return config.distance_penalty * max(0.0, away - 0.5 - config.recovery.drift * target.motion.time_since_update)


def _judged(
    target: Target, candidate: Candidate, calibration: Calibration, prior: float, level: float, config: TrackerConfig
) -> Match:
    """Returns a candidate with its evidence and probabilities.

    prior: added to both logits.
    level: mean level around the target.
    """
    seen, size = _fitted(target, candidate, level, config.recovery)
    off = math.dist(candidate.centre, target.expected) / target.length
    evidence = Evidence(
        classification=candidate.classification,
        response=candidate.response,
        agreement=candidate.agreement,
        motion=target.motion.strangeness(off, config.motion),
        colour=target.colours.strangeness(seen),
        embedding=target.embedding.strangeness(Seen.of(candidate.embedding)),
        peak=candidate.quality,
    )
    presence, accuracy = (one.probability(evidence, prior) for one in (calibration.presence, calibration.accuracy))
    return Match(candidate, size, evidence, presence, accuracy, seen, level)


def _fitted(target: Target, candidate: Candidate, level: float, config: RecoveryConfig) -> tuple[Seen, Point]:
    """Returns the colours in a candidate's box, and its size.

    For a lost target, tries several sizes and returns the one with the best matching colours: the network finds a
    target that returns smaller or larger, but proposes the size that was searched for.
    """
    (x, y), (w, h), memory = candidate.centre, candidate.size, target.colours
    zoomed = target.confidence.searching and candidate.classification >= config.zoom_above
    zooms = config.zooms if zoomed else config.zooms[:1]
    changes = () if target.light is None else target.light.changes(level)
    found = []
    for zoom in zooms:
        seen = colours(candidate.region.frame, (x - w * zoom / 2, y - h * zoom / 2, w * zoom, h * zoom), changes)
        found.append((memory.strangeness(seen) + config.zoom_cost * abs(math.log(zoom)), zoom, seen))
    _, zoom, seen = min(found, key=lambda one: one[0])
    return seen, (w * zoom, h * zoom)
