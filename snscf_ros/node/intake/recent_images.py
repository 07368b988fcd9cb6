# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keeps the last images of one camera, so that a target can be started on the image that its box was drawn on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from std_msgs.msg import Header

from snscf_ros.encodings import Frame
from snscf_ros.images import ImageMessage
from snscf_ros.stamps import nanoseconds


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
    """Keeps the last images as they came, not decoded, and the newest in any case. Not locked: its owner guards it."""

    def __init__(self) -> None:
        self._images: deque[ReceivedImage] = deque()
        self._bytes = 0

    def add(self, image: ReceivedImage, seconds: float, most_bytes: int) -> None:
        """Keep an image. Drop those that came more than `seconds` before it, and the oldest beyond `most_bytes`."""
        self._images.append(image)
        self._bytes += image.size
        while len(self._images) > 1 and (
            self._bytes > most_bytes or image.received - self._images[0].received > seconds
        ):
            self._bytes -= self._images.popleft().size

    def find(self, stamp_ns: int) -> ReceivedImage | None:
        """Return the last image with that stamp."""
        return next((image for image in reversed(self._images) if image.stamp_ns == stamp_ns), None)

    def newest_of(self, frame_id: str) -> ReceivedImage | None:
        """Return the newest image of that frame_id."""
        return next((image for image in reversed(self._images) if image.header.frame_id == frame_id), None)

    def after(self, number: int) -> list[ReceivedImage]:
        """Return the images that came after the one with that number, in order."""
        newer: list[ReceivedImage] = []
        for image in reversed(self._images):
            if image.number <= number:
                break
            newer.append(image)
        newer.reverse()
        return newer

    def clear(self) -> None:
        self._images.clear()
        self._bytes = 0

    @property
    def newest(self) -> ReceivedImage | None:
        return self._images[-1] if self._images else None

    @property
    def oldest(self) -> ReceivedImage | None:
        return self._images[0] if self._images else None

    def __len__(self) -> int:
        return len(self._images)
