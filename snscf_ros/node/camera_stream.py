# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""One camera's stream of images: which one is next, which are remembered, and what became of the others."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace

from snscf_ros.node.recent_images import RecentImages
from snscf_ros.received_image import Counts, ReceivedImage

# stamps that go back by less are images that overtook each other
_OUT_OF_ORDER = 500_000_000  # ns


class CameraStream:
    """Not locked: its owner, the tracking thread, guards it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.images = RecentImages()
        self.counts = Counts()
        self.last_received: float | None = None
        # of those that can be used
        self.last_usable: float | None = None
        self.last_refusal = ""  # why the last image was not even taken; empty if it was
        self.epoch = 0  # rises when the counts begin anew
        self._spoilt = False  # the last image that was looked into could not be used
        self.waiting = False  # the newest image has not been taken yet
        self._processed_at: deque[float] = deque(maxlen=30)

    @property
    def newest(self) -> ReceivedImage | None:
        newest = self.images.newest
        return newest.arrival if newest else None

    def time_went_back(self, arrival: ReceivedImage) -> float:
        """By how many seconds the image is older than the one before, if that is no mere overtaking; else 0.

        Happens when a recording begins anew and when the camera's clock is set.
        """
        if self.newest is None or not arrival.stamp_ns or not self.newest.stamp_ns:
            return 0.0
        back = self.newest.stamp_ns - arrival.stamp_ns
        return back * 1e-9 if back > _OUT_OF_ORDER else 0.0

    def overtaken(self, arrival: ReceivedImage) -> bool:
        """Whether a newer image came before this one, which then is of no use any more; counted as dropped if so."""
        if self.newest is None or not 0 < arrival.stamp_ns < self.newest.stamp_ns:
            return False
        self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
        return True

    def offer(self, arrival: ReceivedImage, wanted: bool, seconds: float, most_bytes: int) -> None:
        """Make a usable image the next one, in place of an older one; `wanted` if it should be taken.

        `seconds` and `most_bytes`: how much of the stream is remembered.
        """
        if self.waiting:
            self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
        self.images.add(arrival, seconds, most_bytes)
        self.last_refusal = ""
        self.waiting = wanted
        self._spoilt = self._spoilt and wanted
        if not self._spoilt:
            self.last_usable = arrival.received

    def take(self) -> ReceivedImage | None:
        """The newest image if it has not been taken yet. It stays `newest`."""
        if not self.waiting:
            return None
        self.waiting = False
        return self.newest

    def pass_over(self) -> None:
        """Leave the newest image alone if it has not been taken yet."""
        self.waiting = False

    def count_received(self) -> None:
        self.counts = replace(self.counts, received=self.counts.received + 1)
        self.last_received = time.monotonic()

    def count_refused(self, reason: str) -> None:
        """Of an image that was not even taken."""
        self.last_refusal = reason
        self.counts = replace(self.counts, rejected=self.counts.rejected + 1)

    def count_rejected(self, epoch: int) -> None:
        """Of an image that was taken in this epoch, and turned out to be useless."""
        self._spoilt = True
        if epoch == self.epoch:
            self.counts = replace(self.counts, rejected=self.counts.rejected + 1)

    def count_processed(self) -> None:
        self.counts = replace(self.counts, processed=self.counts.processed + 1)
        self._processed_at.append(time.monotonic())
        self._spoilt = False
        self.last_usable = self._processed_at[-1]

    def forget_images(self) -> None:
        """Forget what is remembered; an image that waits counts as dropped."""
        if self.waiting:
            self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
        self.images.clear()
        self.waiting = False

    def forget(self) -> None:
        """Back to no image and all counts zero."""
        self.images.clear()
        self.waiting = False
        self.counts = Counts()
        self.last_refusal = ""
        self.epoch += 1
        self._processed_at.clear()

    @property
    def rate(self) -> float:
        """Images tracked in a second, over the last 30; 0 before the second one."""
        times = self._processed_at
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])
