# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plays a recording to the tracker, every image of it, with the steps of the node but without ROS."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snscf_core import Track, Tracker, TrackState
from snscf_ros import images
from snscf_ros.bags.recording import Recording, Start
from snscf_ros.bags.records import UnreadableMessage
from snscf_ros.images import Frame
from snscf_ros.target_registry import TargetRegistry, TrackedTarget


@dataclass(frozen=True)
class ReplayedImage:
    """The result of one image.

    log_time: when the image was recorded (ns).
    header: the image's header; None where its bytes cannot be read.
    targets: what was tracked; empty before the start.
    problem: why the image was rejected; empty if it was not.
    seconds: time from the message to the track.
    """

    log_time: int
    header: Any
    targets: tuple[TrackedTarget, ...]
    problem: str
    seconds: float

    @property
    def track(self) -> Track | None:
        return self.targets[0].track if self.targets else None


def replay(tracker: Tracker, recording: Recording, start: Start, max_pixels: int) -> Iterator[ReplayedImage]:
    """Track through the recording from `start`, and yield the result of each image.

    As in the node, an image that cannot be used, or of another frame_id than the one started on, changes nothing, and
    an image in which nothing is followed is not decoded. Raises ValueError if the target cannot be initialised.
    """
    targets = TargetRegistry()
    frame_id: str | None = None  # of the image that the target was started in
    for index, stored in enumerate(recording.messages()):
        began = time.perf_counter()
        header, problem = None, ""
        tracked: tuple[TrackedTarget, ...] = ()
        try:
            message = stored.message()
            header = message.header
            decode = images.check(message, max_pixels)
            if frame_id not in (None, header.frame_id):
                problem = f"frame_id is '{header.frame_id}', but the target was started in '{frame_id}'"
            elif index == start.index:
                frame_id = header.frame_id
                tracked = _initialise(tracker, targets, decode(), start)
            elif followed := targets.of_camera(""):
                tracks = tracker.update(decode(), [one.target for one in followed])
                tracked = targets.record(list(zip(followed, tracks, strict=True)))
        except UnreadableMessage as reason:
            problem = str(reason)
        except ValueError as reason:
            if index == start.index:
                raise
            problem = str(reason)
        yield ReplayedImage(stored.log_time, header, tracked, problem, time.perf_counter() - began)


def _initialise(tracker: Tracker, targets: TargetRegistry, frame: Frame, start: Start) -> tuple[TrackedTarget, ...]:
    """Start the target. Its first track is the given box."""
    target = tracker.init(frame, start.box)
    targets.add("", "", target, most=1)
    return targets.record([(targets.of_camera("")[0], Track(target.box, 1.0, TrackState.TRACKED, 0.0))])
