# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""SNS-CF: visual tracking of any object, by a Siamese network with spatially semantic correlation features.

>>> tracker = Tracker("snscf_nano")
>>> target = tracker.init(frame, (x, y, w, h))
>>> track = tracker.update(next_frame, target)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .version import package_version

if TYPE_CHECKING:
    from .engines import ENGINES
    from .model.checkpoints import WeightsError
    from .model.geometry import MODELS
    from .online.confidence import TrackState
    from .online.config import TrackerConfig
    from .online.mode import MODES
    from .online.target import Target, Track
    from .online.tracker import Tracker

_PLACES = {
    "ENGINES": "engines",
    "MODELS": "model.geometry",
    "MODES": "online.mode",
    "Target": "online.target",
    "Track": "online.target",
    "TrackState": "online.confidence",
    "Tracker": "online.tracker",
    "TrackerConfig": "online.config",
    "WeightsError": "model.checkpoints",
}


def __getattr__(name: str) -> object:
    # Imported on first use: a program that needs only a part starts sooner and takes less memory.
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_PLACES[name]}", __name__), name)


__version__ = package_version()
__all__ = ["ENGINES", "MODELS", "MODES", "Target", "Track", "TrackState", "Tracker", "TrackerConfig", "WeightsError"]
