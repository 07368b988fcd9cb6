# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Remembers what the tracker last said of one camera: what a ground station is to see, and which images have come."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from pymavlink.dialects.v20 import common as dialect

from snscf_ros.mavlink.conversions import Corners, corners_in_fractions, tracking_status
from snscf_ros.messages import Box
from snscf_ros.stamps import nanoseconds

if TYPE_CHECKING:
    from snscf_msgs.msg import TrackStatus, TrackStatusArray

_ANSWERED = 1.0  # s for which an answer of the tracker counts for more than its status, which may be older
# s; after this time without a status the tracker is silent. Of a silent camera it reports once a second.
_PATIENCE = 2.5
_REMEMBERED = 4096  # images


class Seen(NamedTuple):
    """What a ground station is to see.

    status: CAMERA_TRACKING_STATUS_FLAGS.
    corners: left, top, right and bottom of the target in fractions of the image; None where they are not known.
    target_id: the primary target; empty if nothing is followed.
    """

    status: int
    corners: Corners | None = None
    target_id: str = ""


class TrackedView:
    """Takes the tracker's statuses of one camera. Times are monotonic seconds."""

    def __init__(self, coasting: bool, remember: float) -> None:
        """Begin without a status.

        coasting: whether the ground station knows the flag of that name.
        remember: for how many seconds the stamps of images are kept.
        """
        self.size = (0, 0)  # of the image, in pixels
        self._coasting, self._remember = coasting, remember
        self._heard = -math.inf
        self._silent = False
        self._primary: TrackStatus | None = None
        self._started = self._removed = ""  # what the tracker has answered, and not yet reported
        self._answered = -math.inf
        self._images: deque[tuple[float, int]] = deque(maxlen=_REMEMBERED)  # when each came, and its stamp

    def update(self, message: TrackStatusArray, now: float) -> None:
        """Take a status."""
        self._heard, self._silent = now, message.camera_silent
        self._primary = next((target for target in message.targets if target.primary), None)
        name = self._primary.target_id if self._primary is not None else ""
        if name == self._started or now - self._answered > _ANSWERED:
            self._started = ""
        if name != self._removed or now - self._answered > _ANSWERED:
            self._removed = ""
        if message.image_width and message.image_height:
            self.size = (message.image_width, message.image_height)
        if self._silent:
            return
        came = now - message.latency if math.isfinite(message.latency) else now
        self._images.append((came, nanoseconds(message.header.stamp)))
        while now - self._images[0][0] > self._remember and len(self._images) > 1:
            self._images.popleft()

    def started(self, target_id: str, now: float) -> None:
        """Note that a target was started and made the primary one."""
        self._started, self._removed, self._answered = target_id, "", now

    def removed(self, target_id: str, now: float) -> None:
        """Note that a target was removed: a status that is under way may still have it."""
        self._started, self._removed, self._answered = "", target_id, now

    @property
    def confirmed(self) -> bool:
        """Whether the tracker has reported on what was started last."""
        return not self._started

    def reporting(self, now: float) -> bool:
        """Return whether the tracker reports, and on images."""
        return now - self._heard <= _PATIENCE and not self._silent

    def heard(self, now: float) -> bool:
        """Return whether the tracker reports, if only that its camera is silent."""
        return now - self._heard <= _PATIENCE

    def seen(self, now: float) -> Seen:
        """Return what a ground station is to see."""
        if not self.reporting(now):
            return Seen(dialect.CAMERA_TRACKING_STATUS_FLAGS_ERROR, None, self.primary_id)
        if self._primary is None or not self.primary_id:
            return Seen(dialect.CAMERA_TRACKING_STATUS_FLAGS_IDLE)
        status = tracking_status(self._primary.state, self._coasting)
        corners = None
        if status & dialect.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE:
            corners = corners_in_fractions(_box(self._primary), self.size)
        return Seen(status, corners, self._primary.target_id)

    @property
    def primary_id(self) -> str:
        """Return the name of the target that ground stations see; empty if nothing is followed."""
        name = self._started or (self._primary.target_id if self._primary is not None else "")
        return "" if name == self._removed else name

    def stamp_before(self, delay: float, now: float) -> int:
        """Return the stamp of the image that was the newest `delay` seconds ago; 0, for the newest, without a delay.

        The nearest image that is remembered is taken.
        """
        if delay <= 0 or not self._images:
            return 0
        then = now - delay
        # the newest of those that had come; the oldest where none had
        return next((stamp for came, stamp in reversed(self._images) if came <= then), self._images[0][1])


def _box(target: TrackStatus) -> Box:
    box, centre = target.bbox, target.bbox.center.position
    return centre.x - box.size_x / 2, centre.y - box.size_y / 2, box.size_x, box.size_y
