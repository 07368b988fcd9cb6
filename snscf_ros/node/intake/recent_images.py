# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps the last images of one camera, so that a target can be started on the image that its box was drawn on."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from std_msgs.msg import Header

from snscf_ros.encodings import Frame
from snscf_ros.images import ImageMessage
from snscf_ros.stamps import nanoseconds

# s; images that came within it before the newest are all kept
_ALL_OF = 1.0
# s; between two older images that are kept. A target that is started on the image of one end is found in the other
GAP = 0.105
# bytes; images of this size, which are compressed, are all kept
_SMALL = 1 << 18


@dataclass(eq=False, slots=True)
class ReceivedImage:
    """One image message of a camera, checked but not decoded.

    message: the message as it came.
    decode: makes the H x W x 3 uint8 BGR frame; raises ImageRejected where that fails.
    camera: name of the camera.
    received: when it reached the node (monotonic seconds).
    number: its place among the camera's images; no number is used twice.
    epoch: how often the camera's counts had been reset when it came.
    stamp_ns: the header's stamp in nanoseconds; 0 where the camera gives none.
    size: bytes of pixels or of the compressed file.
    """

    message: ImageMessage
    decode: Callable[[], Frame]
    camera: str = ""
    received: float = field(default_factory=time.monotonic)
    number: int = 0
    epoch: int = 0
    stamp_ns: int = field(init=False)
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.stamp_ns, self.size = nanoseconds(self.message.header.stamp), len(self.message.data)

    @property
    def header(self) -> Header:
        return self.message.header


class RecentImages:
    """Keeps the last images as they came, not decoded, and the newest in any case. Not locked: its owner guards it.

    All images of the last second are kept. Of older ones that are large, as many are dropped as leave no gap of more
    than `GAP` seconds, and the images at its ends stand for those in between.
    """

    def __init__(self) -> None:
        self._older: deque[ReceivedImage] = deque()
        self._last: deque[ReceivedImage] = deque()  # of the last second, and at least one
        self._bytes = 0

    def add(self, image: ReceivedImage, seconds: float, most_bytes: int) -> None:
        """Keep an image. Drop those that came more than `seconds` before it, and the oldest beyond `most_bytes`."""
        self._last.append(image)
        self._bytes += image.size
        while image.received - self._last[0].received > _ALL_OF:
            self._grow_old(self._last.popleft())
        while len(self) > 1 and (self._bytes > most_bytes or image.received - self._oldest.received > seconds):
            self._bytes -= (self._older or self._last).popleft().size

    def _grow_old(self, image: ReceivedImage) -> None:
        """Keep an image among the older ones, unless its neighbours stand for it."""
        if self._older and image.size > _SMALL:
            before, after = self._older[-1], self._last[0]
            alike = before.header.frame_id == image.header.frame_id == after.header.frame_id
            if alike and after.received - before.received <= GAP:
                self._bytes -= image.size
                return
        self._older.append(image)

    def find(self, stamp_ns: int) -> ReceivedImage | None:
        """Return the last image with that stamp. Where it was dropped from a gap, return the nearer end of the gap."""
        after: ReceivedImage | None = None
        for image in self._newest_first():
            if image.stamp_ns == stamp_ns:
                return image
            if after and after.number - image.number > 1 and image.stamp_ns < stamp_ns < after.stamp_ns:
                return min(image, after, key=lambda end: abs(end.stamp_ns - stamp_ns))
            after = image
        return None

    def newest_of(self, frame_id: str) -> ReceivedImage | None:
        """Return the newest image of that frame_id."""
        return next((image for image in self._newest_first() if image.header.frame_id == frame_id), None)

    def after(self, number: int) -> list[ReceivedImage]:
        """Return the images that came after the one with that number, in order."""
        newer: list[ReceivedImage] = []
        for image in self._newest_first():
            if image.number <= number:
                break
            newer.append(image)
        newer.reverse()
        return newer

    def clear(self) -> None:
        self._older.clear()
        self._last.clear()
        self._bytes = 0

    @property
    def newest(self) -> ReceivedImage | None:
        return self._last[-1] if self._last else None

    @property
    def oldest(self) -> ReceivedImage | None:
        return self._oldest if self._last else None

    def __len__(self) -> int:
        return len(self._older) + len(self._last)

    @property
    def _oldest(self) -> ReceivedImage:
        return (self._older or self._last)[0]

    def _newest_first(self) -> Iterator[ReceivedImage]:
        return itertools.chain(reversed(self._last), reversed(self._older))
