# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""SNS-CF: visual tracking of any object, by a Siamese network with spatially semantic correlation features.

>>> tracker = Tracker("snscf_mobilenetv2")
>>> target = tracker.init(frame, (x, y, w, h))
>>> track = tracker.update(next_frame, target)
"""

from .checkpoints import WeightsError
from .confidence import TrackState
from .config import MODES, TrackerConfig
from .engines import ENGINES
from .network import MODELS
from .tracker import Target, Track, Tracker
from .version import package_version

__version__ = package_version()
__all__ = ["ENGINES", "MODELS", "MODES", "Target", "Track", "TrackState", "Tracker", "TrackerConfig", "WeightsError"]
