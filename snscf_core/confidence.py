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
    """Thresholds on the relative peak quality: the peak-to-sidelobe ratio over its running mean while tracked.

    A ratio to the target's own normal is comparable between targets; an absolute ratio is not.
    """

    uncertain_below: float = 0.6  # the match is weak: the filters are not updated
    lost_below: float = 0.35  # hardly a peak at all ...
    lost_after: int = 5  # ... for this many frames in a row
    mean_rate: float = 0.05  # how fast the running mean follows
    midpoint: float = 0.55  # relative quality that scores 0.5
    slope: float = 8.0  # of the score around the midpoint


@dataclass
class Confidence:
    """Peak quality over time for one target. Scores are monotonic in quality but not calibrated probabilities."""

    mean_quality: float = 0.0
    low_frames: int = 0
    state: TrackState = TrackState.TRACKED

    def observe(self, quality: float, config: ConfidenceConfig) -> tuple[float, TrackState]:
        """Takes the peak quality of a new frame (>= 0); returns the score in [0, 1] and the state."""
        if self.mean_quality <= 0:
            self.mean_quality = quality
        relative = quality / self.mean_quality if self.mean_quality > 0 else 0.0
        self.low_frames = self.low_frames + 1 if relative < config.lost_below else 0
        if self.low_frames >= config.lost_after or (
            self.state == TrackState.LOST and relative < config.uncertain_below
        ):
            self.state = TrackState.LOST
        elif relative < config.uncertain_below:
            self.state = TrackState.UNCERTAIN
        else:
            self.state = TrackState.TRACKED
            self.mean_quality += config.mean_rate * (quality - self.mean_quality)
        score = 1 / (1 + math.exp(-config.slope * (relative - config.midpoint)))
        return score, self.state
