# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The last images of one camera, so that a target can be started on the one that its box was drawn on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from snscf_ros.received_image import ReceivedImage


@dataclass(frozen=True)
class Buffered:
    """An image and its place in the order of arrival; numbers are never used twice."""

    number: int
    arrival: ReceivedImage


class RecentImages:
    """Messages as they came, not decoded; the newest is always kept. Not locked: its owner guards it."""

    def __init__(self) -> None:
        self._images: deque[Buffered] = deque()
        self._bytes = 0
        self._next_number = 0

    def add(self, arrival: ReceivedImage, seconds: float, most_bytes: int) -> None:
        """Keep an image, and let go of those that came more than `seconds` before it or, oldest first, do not fit into
        `most_bytes`."""
        self._images.append(Buffered(self._next_number, arrival))
        self._next_number += 1
        self._bytes += arrival.size
        while len(self._images) > 1 and (
            self._bytes > most_bytes or arrival.received - self._images[0].arrival.received > seconds
        ):
            self._bytes -= self._images.popleft().arrival.size

    def find(self, stamp_ns: int) -> Buffered | None:
        """The last image with that stamp."""
        return next((image for image in reversed(self._images) if image.arrival.stamp_ns == stamp_ns), None)

    def after(self, number: int) -> list[Buffered]:
        """The images that came after that one, in order."""
        newer: list[Buffered] = []
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
    def newest(self) -> Buffered | None:
        return self._images[-1] if self._images else None

    @property
    def oldest(self) -> Buffered | None:
        return self._images[0] if self._images else None

    def __len__(self) -> int:
        return len(self._images)
