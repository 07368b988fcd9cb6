# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Estimates how probable it is that a box is on the target, and derives the state: tracked, uncertain or lost."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass


class TrackState(enum.IntEnum):
    """State of a target in one frame; the numbers are those of ``snscf_msgs/TrackStatus``."""

    TRACKED = 0
    UNCERTAIN = 1
    LOST = 2


@dataclass(frozen=True)
class Evidence:
    """Evidence for or against a box being on the target. Unknown values are NaN.

    classification: score of the proposal, in (0, 1).
    response: the filters' response at its centre, about 1 on the frame that they were learned on.
    agreement: that response relative to the highest in the map; 1 if both branches agree.
    motion: distance from the target's expected centre, in lengths of the target, see `motion.Motion.strangeness`.
    colour: strangeness of its colours, in [-1, 1], see `appearance.Memory.strangeness`.
    embedding: strangeness of the network's features, likewise.
    peak: peak-to-sidelobe ratio of the map that decided.
    """

    classification: float = math.nan
    response: float = math.nan
    agreement: float = math.nan
    motion: float = math.nan
    colour: float = math.nan
    embedding: float = math.nan
    peak: float = math.nan

    def features(self) -> tuple[float, ...]:
        """Returns the inputs of the logistic regression; 0 for unknown values."""
        score = _within(self.classification, 0.001, 0.999)
        values = (
            math.log(score / (1 - score)),
            math.log(_within(self.response, 0.01, 1.0)),
            math.log(_within(self.agreement, 0.05, 1.0)),
            _within(self.motion, 0.0, 2.0),
            self.colour,
            self.embedding,
            math.log(_within(self.peak, 1.0, 100.0)),
        )
        return tuple(0.0 if math.isnan(value) else value for value in values)


@dataclass(frozen=True)
class Logistic:
    """A logistic regression: weights of ``Evidence.features``, in their order, and a bias."""

    weights: tuple[float, ...]
    bias: float

    def probability(self, evidence: Evidence, prior: float = 0.0) -> float:
        """Returns the probability, in (0, 1). prior: added to the logit."""
        value = self.bias + prior
        for weight, feature in zip(self.weights, evidence.features(), strict=True):
            value += weight * feature
        return 1 / (1 + math.exp(-_within(value, -12.0, 12.0)))


@dataclass(frozen=True)
class Calibration:
    """The probabilities of a box given its evidence, as ``benchmarks/calibration.py`` fits and judges them.

    accuracy: that the box overlaps the target by more than half (IoU). This is the track's score.
    presence: that the box is on the target, however loosely (IoU > 0.1). This decides the state, because a target with
        a box that is too small is not lost.
    """

    accuracy: Logistic
    presence: Logistic


_FUSED = Calibration(
    accuracy=Logistic((0.02, 1.94, 0.00, 0.00, -1.87, -0.82, 0.10), 3.86),
    presence=Logistic((0.46, 0.74, 0.00, 0.00, -2.84, -1.85, 0.00), 1.01),
)
# The default: one calibration per mode, for weights without a tuning file beside them (see `tuning`). "searching" is
# for candidates of a lost target away from its last place, where the filters are not reliable. They were fitted to the
# evidence of modes snscf and correlation_filter with earlier weights, for siamese without the filters' part.
CALIBRATIONS = {
    "snscf": _FUSED,
    "naive_fusion": _FUSED,
    "paper": _FUSED,
    "siamese": Calibration(
        accuracy=Logistic((0.56, 0.00, 0.00, -0.56, -3.06, 0.00, 0.00), -1.71),
        presence=Logistic((0.55, 0.00, 0.00, -0.30, -5.63, 0.00, 0.00), -0.70),
    ),
    "correlation_filter": Calibration(
        accuracy=Logistic((0.00, 0.88, 0.00, 0.00, -1.34, 0.00, 1.54), -4.20),
        presence=Logistic((0.00, 1.47, 0.00, -0.44, -2.44, 0.00, 1.37), -0.82),
    ),
    "searching": Calibration(
        accuracy=Logistic((0.61, 0.00, 0.00, 0.00, -7.22, -2.13, 0.00), -3.12),
        presence=Logistic((0.41, 0.00, 0.00, 0.00, -10.16, -1.36, 0.00), -1.24),
    ),
}


@dataclass(frozen=True)
class ConfidenceConfig:
    """Thresholds on the presence probability. They differ from each other so that states do not flicker."""

    tracked_above: float = 0.5  # from uncertain to tracked; the filters learn only in tracked frames
    uncertain_below: float = 0.35  # from tracked to uncertain
    coast_below: float = 0.05  # below this, the box follows its motion instead of the match
    lost_after: float = 5.0  # uncertain frames in a row until lost, each weighted by how far it is below the threshold
    seen_above: float = 0.3  # from lost to uncertain: the place is verified in the next frames
    found_above: float = 0.7  # needed in each frame of verification to be found
    found_strangeness: float = 0.15  # largest strangeness of the colours in each such frame
    found_after: int = 3  # such frames in a row until the target is tracked again
    found_within: int = 8  # frames of verification at most, then the target is lost again
    verified_within: int = 60  # frames in which an unverified match must be found in the same way, else it is lost


@dataclass
class Confidence:
    """The state of a target and the counters that decide when it changes.

    doubt: weighted number of uncertain frames in a row; the target is lost at ``lost_after``.
    looking: frames for which the place of a lost target has been verified; 0 if no place is being verified.
    found_frames: frames in a row in which verification succeeded.
    astray: frames since the target followed an unverified match; 0 if the match has been verified, or there was none.
    """

    state: TrackState = TrackState.TRACKED
    doubt: float = 0.0
    looking: int = 0
    found_frames: int = 0
    astray: int = 0

    @property
    def searching(self) -> bool:
        """Whether the target is lost, or was just found again and is still being verified."""
        return self.state == TrackState.LOST or self.looking > 0

    def go_astray(self) -> None:
        """Records that the next match is unverified: it is not the candidate that ranked best."""
        self.astray, self.found_frames = max(self.astray, 1), 0

    def observe(
        self, probability: float, config: ConfidenceConfig, *, strange: bool = False, elsewhere: bool = False
    ) -> TrackState:
        """Takes the presence probability of the match in a new frame; returns the new state.

        strange: whether its colours are too strange to verify a lost or unverified target.
        elsewhere: whether the match is not in the place that has been verified so far.
        """
        if self.searching:
            self._look(probability, config, strange, elsewhere)
            return self.state
        below = config.uncertain_below - probability
        self.doubt = self.doubt + below / config.uncertain_below if below > 0 else 0.0
        if self.astray:
            self.astray += 1
            self.found_frames = self.found_frames + 1 if probability >= config.found_above and not strange else 0
        if self.doubt >= config.lost_after or self.astray > config.verified_within:
            self.state, self.doubt, self.astray, self.found_frames = TrackState.LOST, 0.0, 0, 0
        elif self.astray and self.found_frames < config.found_after:
            self.state = TrackState.UNCERTAIN
        elif self.astray:
            self.state, self.astray, self.found_frames = TrackState.TRACKED, 0, 0
        elif probability < config.uncertain_below:
            self.state = TrackState.UNCERTAIN
        elif probability >= config.tracked_above:
            self.state = TrackState.TRACKED
        return self.state

    def _look(self, probability: float, config: ConfidenceConfig, strange: bool, elsewhere: bool) -> None:
        """Takes the presence probability of a lost target's match: starts, continues or ends its verification."""
        if elsewhere or not self.looking:
            self.looking, self.found_frames = int(probability >= config.seen_above), 0
        else:
            self.looking = self.looking + 1 if probability >= config.uncertain_below else 0
            self.found_frames = self.found_frames + 1 if probability >= config.found_above and not strange else 0
        if self.found_frames >= config.found_after:
            self.state, self.looking, self.found_frames = TrackState.TRACKED, 0, 0
        elif 0 < self.looking <= config.found_within:
            self.state = TrackState.UNCERTAIN
        else:
            self.state, self.looking, self.found_frames = TrackState.LOST, 0, 0


def _within(value: float, low: float, high: float) -> float:
    return value if math.isnan(value) else min(max(value, low), high)
