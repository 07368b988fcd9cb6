# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Receives one camera's images while somebody watches, and makes pictures of them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from snscf_ros import image_topics
from snscf_ros.images import ImageMessage, ImageRejected
from snscf_ros.operator.pictures import Picture, picture
from snscf_ros.operator.settings import PageSettings
from snscf_ros.stamps import nanoseconds

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.subscription import Subscription

# s; if the tracker has reported on no image for this long, pictures no longer wait for it
_PATIENCE = 1.0
# at most this many images, with this many bytes, wait for the tracker
_MOST_WAITING = 32
_MOST_BYTES = 64 * 1024 * 1024
_REMEMBERED = 64  # stamps on which the tracker has reported


class StampMatcher:
    """Holds images back until the tracker has reported on them, so that each picture can be shown with its own boxes.

    While targets are followed, images on which the tracker does not report (it skips some) are left out. While nothing
    is followed, or the tracker is silent, images pass at once.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, ImageMessage]] = deque(maxlen=_MOST_WAITING)
        self._reported: deque[int] = deque(maxlen=_REMEMBERED)
        self._last_report = -_PATIENCE  # monotonic seconds
        self._following = False

    def image(self, stamp: int, message: ImageMessage, now: float) -> ImageMessage | None:
        """Take an image; return it if it is to be shown at once. now: monotonic seconds."""
        if not self._following or now - self._last_report > _PATIENCE or stamp in self._reported:
            self._forget_until(stamp)
            return message
        self._waiting.append((stamp, message))
        # the sizes are summed anew because the queue drops its oldest entry by itself
        while sum(len(held.data) for _, held in self._waiting) > _MOST_BYTES and len(self._waiting) > 1:
            self._waiting.popleft()
        return None

    def report(self, stamp: int, following: bool, now: float) -> ImageMessage | None:
        """Take a report of the tracker; return the image that it is about if that waits.

        following: whether it has targets in this camera's images.
        """
        self._last_report, self._following = now, following
        self._reported.append(stamp)
        if not following and self._waiting:
            newest = self._waiting[-1][1]
            self._waiting.clear()
            return newest
        for held, message in self._waiting:
            if held == stamp:
                self._forget_until(stamp)
                return message
        return None

    def clear(self) -> None:
        self._waiting.clear()

    def _forget_until(self, stamp: int) -> None:
        """Forget the images up to the one of this stamp; all of them if it does not wait (stamps may go back)."""
        while self._waiting:
            if self._waiting.popleft()[0] == stamp:
                return


class Feed:
    """Receives the images of one camera, only while it is watched. Callbacks run in the executor's thread."""

    def __init__(
        self,
        node: Node,
        camera: str,
        settings: PageSettings,
        wanted: Callable[[str], bool],
        show: Callable[[Picture], None],
    ) -> None:
        """Prepare the feed.

        camera: its name as the tracker has it.
        wanted: whether a viewer of this camera can take a picture now.
        show: called with each picture.
        """
        self.camera = camera
        self.failure = ""  # why the last image could not be shown; empty if it could
        self.last_image: float | None = None  # monotonic seconds
        self._node, self._settings = node, settings
        self._wanted, self._show = wanted, show
        self._subscription: Subscription | None = None
        self._transport = ""
        self._matcher = StampMatcher()
        self._next = 0.0  # monotonic seconds from which on the next picture is due

    @property
    def transport(self) -> str:
        """What is subscribed to: raw or compressed; empty for nothing."""
        return self._transport

    def watch(self, watched: bool) -> None:
        """Subscribe to the images, or stop. Called again from time to time: the camera may have changed its topics."""
        transport = self._choose_transport() if watched else ""
        if transport == self._transport:
            return
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)
            self._subscription = None
            self._matcher.clear()
        self._transport = transport
        if transport:
            self._subscription = self._subscribe(transport)

    def report(self, stamp: int, following: bool) -> None:
        """Take the stamp of an image on which the tracker has reported. following: whether it has targets there."""
        if (message := self._matcher.report(stamp, following, time.monotonic())) is not None:
            self._make(message)

    def _choose_transport(self) -> str:
        if self._settings.image_transport != "auto":
            return self._settings.image_transport
        for transport in ("compressed", "raw"):
            if self._node.count_publishers(self._topic(transport)):
                return transport
        return self._transport or "raw"

    def _topic(self, transport: str) -> str:
        # a private name is the tracker's, not this node's
        camera = self.camera.replace("~", self._settings.tracker, 1) if self.camera.startswith("~") else self.camera
        # count_publishers does not apply remappings by itself
        return image_topics.image_topic(self._node, camera, transport)

    def _subscribe(self, transport: str) -> Any:
        from sensor_msgs.msg import CompressedImage, Image

        kind = CompressedImage if transport == "compressed" else Image
        return self._node.create_subscription(kind, self._topic(transport), self._receive, image_topics.sensor_qos())

    def _receive(self, message: ImageMessage) -> None:
        now = time.monotonic()
        self.last_image = now
        ready = self._matcher.image(nanoseconds(message.header.stamp), message, now)
        if ready is not None:
            self._make(ready)

    def _make(self, message: ImageMessage) -> None:
        """Make a picture and hand it on, unless the rate is reached or nobody can take it now."""
        now, period = time.monotonic(), 1 / self._settings.rate
        # cameras are not exact: an image that comes a little early is not left out
        if now < self._next - period / 4 or not self._wanted(self.camera):
            return
        self._next = max(self._next, now - period) + period
        try:
            made = picture(message, self.camera, nanoseconds(message.header.stamp), self._settings)
        except ImageRejected as reason:
            self.failure = str(reason)
            return
        self.failure = ""
        self._show(made)
