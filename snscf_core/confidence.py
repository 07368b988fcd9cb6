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
class ConfidenceConfig:
    """Thresholds on what tells a match from none: the peak-to-sidelobe ratio of the filters' response (the defaults),
    or the classification score of the chosen proposal."""

    uncertain_below: float = 11.0  # the match is weak: the filters are not updated; scores 0.5
    lost_below: float = 10.0  # hardly a match at all ...
    lost_after: int = 5  # ... for this many frames in a row
    slope: float = 0.3  # of the score's logit per unit


@dataclass
class Confidence:
    """What a target's recent matches say. The score rises with their quality but is no calibrated probability."""

    low_frames: int = 0
    state: TrackState = TrackState.TRACKED

    def observe(self, quality: float, config: ConfidenceConfig) -> tuple[float, TrackState]:
        """Takes the quality of the match in a new frame (>= 0); returns the score in [0, 1] and the state.

        A lost target is tracked again at the first frame that is not uncertain.
        """
        self.low_frames = self.low_frames + 1 if quality < config.lost_below else 0
        if quality >= config.uncertain_below:
            self.state = TrackState.TRACKED
        elif self.state == TrackState.LOST or self.low_frames >= config.lost_after:
            self.state = TrackState.LOST
        else:
            self.state = TrackState.UNCERTAIN
        score = 1 / (1 + math.exp(-config.slope * (quality - config.uncertain_below)))
        return score, self.state
