# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""SNS-CF: visual tracking of any object, by a Siamese network with spatially semantic correlation features.

>>> tracker = Tracker("snscf_nano")
>>> target = tracker.init(frame, (x, y, w, h))
>>> track = tracker.update(next_frame, target)
"""

from .requirements import torch_missing
from .version import package_version

if _reason := torch_missing():

    def __getattr__(name: str) -> object:
        # Raised on first use, not on import, so that the commands can report it without a traceback.
        if name in __all__:
            raise ModuleNotFoundError(_reason, name="torch")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

else:
    from .engines import ENGINES
    from .model.checkpoints import WeightsError
    from .model.network import MODELS
    from .online.confidence import TrackState
    from .online.config import TrackerConfig
    from .online.mode import MODES
    from .online.tracker import Target, Track, Tracker

__version__ = package_version()
__all__ = ["ENGINES", "MODELS", "MODES", "Target", "Track", "TrackState", "Tracker", "TrackerConfig", "WeightsError"]
