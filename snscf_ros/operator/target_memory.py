# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Turns the tracker's status into messages for browsers, and remembers the last 30 s for those that come later."""

from __future__ import annotations

import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from snscf_ros.stamps import nanoseconds

if TYPE_CHECKING:
    from snscf_msgs.msg import TrackStatus, TrackStatusArray

_SPAN = 30.0  # s
_STEP = 0.2  # s between two remembered points


class TargetMemory:
    """Remembers what is known of each target, from its first status to its last."""

    def __init__(self) -> None:
        # by camera and target: when it was first seen (monotonic seconds), and its (time, score, state)
        self._first: dict[tuple[str, str], float] = {}
        self._points: dict[tuple[str, str], deque[tuple[float, float, int]]] = {}

    def status(self, message: TrackStatusArray) -> dict[str, Any]:
        """Remember a status, and return the message for browsers."""
        now = time.monotonic()
        present = {(message.camera, target.target_id) for target in message.targets}
        for key in [key for key in self._first if key[0] == message.camera and key not in present]:
            del self._first[key], self._points[key]
        return {
            "type": "status",
            "camera": message.camera,
            "stamp": str(nanoseconds(message.header.stamp)),
            "targets": [self._target(message.camera, target, message.camera_silent, now) for target in message.targets],
            "latency": _finite(message.latency),
            "received": message.frames_received,
            "processed": message.frames_processed,
            "dropped": message.frames_dropped,
            "rejected": message.frames_rejected,
            "silent": message.camera_silent,
            "problem": message.problem,
            "restarts": message.restarts,
        }

    def history(self) -> dict[str, Any]:
        """Return the message that gives a browser the strips of the targets: (seconds ago, score, state)."""
        now = time.monotonic()
        strips = [
            {
                "camera": camera,
                "id": target_id,
                "points": [[round(now - at, 2), round(score, 3), state] for at, score, state in points],
            }
            for (camera, target_id), points in self._points.items()
        ]
        return {"type": "history", "strips": strips}

    def clear(self) -> None:
        """Forget everything: nobody has listened, so the ages would be wrong."""
        self._first.clear()
        self._points.clear()

    def _target(self, camera: str, target: TrackStatus, silent: bool, now: float) -> dict[str, Any]:
        key = (camera, target.target_id)
        first = self._first.setdefault(key, now)
        points = self._points.setdefault(key, deque(maxlen=round(_SPAN / _STEP)))
        # a silent camera repeats what was last known
        if not silent and (not points or now - points[-1][0] >= _STEP):
            points.append((now, _finite(target.score), target.state))
        box, centre = target.bbox, target.bbox.center.position
        w, h = _finite(box.size_x), _finite(box.size_y)
        return {
            "id": target.target_id,
            "state": target.state,
            "score": round(_finite(target.score), 3),
            "primary": target.primary,
            "box": [round(v, 2) for v in (_finite(centre.x) - w / 2, _finite(centre.y) - h / 2, w, h)],
            "age": round(now - first, 1),
        }


def _finite(value: float) -> float:
    """Return the value, or 0 where it is NaN or infinite, for which JSON has no word."""
    return value if math.isfinite(value) else 0.0
