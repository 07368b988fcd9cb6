# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How sure the tracker is, and what it calls that: tracked, uncertain or lost."""

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
    """What speaks for a box being the target.

    classification: score of the proposal, in (0, 1). response: of the filters at its centre, about 1 on the frame that
    they were learned on. agreement: that response relative to the highest anywhere, 1 where both branches agree.
    motion: distance from where the target was expected, in sizes of the target. colour: how much stranger its colours
    are than the target's usually, in [-1, 1]. embedding: the same of the network's features. peak: peak-to-sidelobe
    ratio of the map that decided. NaN: not known.
    """

    classification: float = math.nan
    response: float = math.nan
    agreement: float = math.nan
    motion: float = math.nan
    colour: float = math.nan
    embedding: float = math.nan
    peak: float = math.nan

    def features(self) -> tuple[float, ...]:
        """What the probability's logit is taken to be linear in; 0 for what is not known."""
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
    """Logistic regression: weights of ``Evidence.features``, in their order, and a bias."""

    weights: tuple[float, ...]
    bias: float

    def probability(self, evidence: Evidence, prior: float = 0.0) -> float:
        """In (0, 1). prior: added to the logit."""
        value = self.bias + prior
        for weight, feature in zip(self.weights, evidence.features(), strict=True):
            value += weight * feature
        return 1 / (1 + math.exp(-_within(value, -12.0, 12.0)))


@dataclass(frozen=True)
class Calibration:
    """What evidence says of a box, as ``benchmarks/calibration.py`` fits and judges it.

    right: the probability that it overlaps the target by more than half (IoU), which is the score. there: that it is
    on the target, however loosely (IoU > 0.1), which decides the state: a box that is too small is not lost.
    """

    accuracy: Logistic
    presence: Logistic


_FUSED = Calibration(
    accuracy=Logistic((0.02, 1.94, 0.00, 0.00, -1.87, -0.82, 0.10), 3.86),
    presence=Logistic((0.46, 0.74, 0.00, 0.00, -2.84, -1.85, 0.00), 1.01),
)
# For each mode; "searching": for what may be a lost target, where the filters do not know it. Fitted on what modes
# snscf (siamese: without what that has not) and correlation_filter saw with the weights that shipped before: for those
# that do now, new fits tell no better.
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
    """Thresholds on the probability that the target is there, apart from each other so that states do not flicker."""

    tracked_above: float = 0.5  # from uncertain to tracked; only what is tracked is learned
    uncertain_below: float = 0.35  # from tracked to uncertain
    coast_below: float = 0.05  # an uncertain box goes on as it did, rather than to the match
    lost_after: float = 5.0  # uncertain frames in a row, each counted as far as it is below
    seen_above: float = 0.3  # a lost target may be there: looked at more closely ...
    found_above: float = 0.7  # ... and is found if it is that surely there ...
    found_strangeness: float = 0.15  # ... with colours that differ at most by that from its usual ones ...
    found_after: int = 3  # ... in this many frames in a row, uncertain until then ...
    found_within: int = 8  # ... of these after it was seen
    verified_within: int = 60  # frames in which what was not ranked best has to be found likewise, else it is lost


@dataclass
class Confidence:
    """What a target's recent matches say. doubt: of ``lost_after``. looking: frames for which a lost target has been
    looked at where it may be; found_frames: in a row in which it was it. astray: frames since it was taken for what
    the network did not rank best, until it has been verified like one that was lost; 0: it was not, or has been."""

    state: TrackState = TrackState.TRACKED
    doubt: float = 0.0
    looking: int = 0
    found_frames: int = 0
    astray: int = 0

    @property
    def lost(self) -> bool:
        """Whether the target is lost, or has been found again just now and is not yet trusted."""
        return self.state == TrackState.LOST or self.looking > 0

    def go_astray(self) -> None:
        """The next match is not what was ranked best."""
        self.astray, self.found_frames = max(self.astray, 1), 0

    def observe(
        self, probability: float, config: ConfidenceConfig, *, strange: bool = False, elsewhere: bool = False
    ) -> TrackState:
        """Takes the probability that the target is where it was matched in a new frame; returns the state.

        strange: whether its colours are too strange for a target that was lost or went astray. elsewhere: whether that
        is not where a lost target has been looked at so far.
        """
        if self.lost:
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
        """A frame in which a lost target may have been found."""
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
