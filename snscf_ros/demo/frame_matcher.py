# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Matches images, true boxes and tracks, which arrive on topics of their own, by the images' stamps."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from snscf_core import Track
from snscf_ros.demo.scores import FrameResult
from snscf_ros.images import Frame
from snscf_ros.messages import Box

_KEPT = 5  # images that are kept before the recording


@dataclass(frozen=True)
class _MatchedTrack:
    track: Track | None
    latency: float


class FrameMatcher:
    """Matches what belongs to one image. One thread fills it and another empties it. Stamps are in nanoseconds.

    last_image: when the last image came (monotonic seconds).
    """

    def __init__(self, has_truth: bool, patience: float = 5.0) -> None:
        """Start empty.

        has_truth: whether every image will get a true box, or None for an absent target.
        patience: seconds after an image's arrival for which its track is awaited.
        """
        self._patience = patience
        self._has_truth = has_truth
        self._lock = threading.Lock()
        self._images: dict[int, tuple[Frame, float]] = {}
        self._truths: dict[int, Box | None] = {}
        self._tracks: dict[int, _MatchedTrack] = {}
        self._newest_tracked = 0
        self._newest_taken = 0
        self._taken = 0
        self._last_track: Track | None = None
        self._recording = False
        self._first: int | None = None
        self._last: int | None = None
        self.last_image = time.monotonic()

    def add_image(self, stamp: int, frame: Frame) -> None:
        with self._lock:
            self.last_image = time.monotonic()
            self._images[stamp] = (frame, self.last_image)
            if not self._recording:
                for store in (self._images, self._truths, self._tracks):
                    for old in sorted(store)[:-_KEPT]:
                        del store[old]

    def add_truth(self, stamp: int, box: Box | None) -> None:
        """Add the true box of an image; None where the target is absent."""
        with self._lock:
            self._truths[stamp] = box

    def add_track(self, stamp: int, track: Track | None, latency: float) -> None:
        """Add the track of an image; None where nothing was followed. latency: seconds."""
        with self._lock:
            self._tracks[stamp] = _MatchedTrack(track, latency)
            self._newest_tracked = max(self._newest_tracked, stamp)

    def newest(self) -> tuple[Frame, Box | None] | None:
        """Return the newest image that the tracker has received too, with its true box."""
        with self._lock:
            for stamp in sorted(self._images, reverse=True):
                if stamp in self._tracks and (stamp in self._truths or not self._has_truth):
                    return self._images[stamp][0], self._truths.get(stamp)
            return None

    def record(self) -> None:
        """Keep all that comes from now on."""
        with self._lock:
            self._recording = True

    def begin(self, stamp: int) -> None:
        """Set the stamp of the first frame that counts."""
        with self._lock:
            self._first = stamp

    def end(self, stamp: int) -> None:
        """Set the stamp of the last frame that counts."""
        with self._lock:
            self._last = stamp

    @property
    def ended(self) -> bool:
        """Whether it is known which frame is the last."""
        return self._last is not None

    @property
    def complete(self) -> bool:
        """Whether the last frame has been taken."""
        return self._last is not None and self._newest_taken >= self._last

    def take(self, everything: bool = False) -> Iterator[tuple[Frame, FrameResult]]:
        """Yield in order the frames that were tracked or dropped for a newer one, or all if `everything`."""
        while (item := self._next(everything)) is not None:
            stamp, frame, truth, matched = item
            if matched is not None and matched.track is not None:
                self._last_track = matched.track
            self._taken += 1
            latency = matched.latency if matched else None
            yield frame, FrameResult(self._taken, stamp, truth, self._last_track, matched is None, latency)

    def _next(self, everything: bool) -> tuple[int, Frame, Box | None, _MatchedTrack | None] | None:
        with self._lock:
            if self._first is None:
                return None
            for early in [stamp for stamp in self._images if stamp < self._first]:
                del self._images[early]
            stamp = min(self._images, default=None)
            if stamp is None or (self._last is not None and stamp > self._last):
                return None
            matched = self._tracks.get(stamp)
            settled = matched is not None or self._newest_tracked > stamp
            known = settled and (stamp in self._truths or not self._has_truth)
            frame, arrived = self._images[stamp]
            if not known and not everything and time.monotonic() - arrived < self._patience:
                return None
            self._newest_taken = stamp
            self._tracks.pop(stamp, None)
            del self._images[stamp]
            return stamp, frame, self._truths.pop(stamp, None), matched
