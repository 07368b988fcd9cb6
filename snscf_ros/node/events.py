# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the tracking worker reports: one frozen type for each kind of event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from std_msgs.msg import Header

from snscf_core import Tracker
from snscf_ros.encodings import Frame
from snscf_ros.messages import Counts
from snscf_ros.target_registry import TrackedTarget


@dataclass(frozen=True)
class TrackedFrame:
    """One image has been tracked.

    camera: name of the camera.
    header: the image's header.
    size: width and height of the image in pixels.
    received: when the image reached the node (monotonic seconds).
    targets: the tracked targets; empty where nothing is followed in this camera.
    counts: what became of the camera's images so far.
    rate: images tracked per second.
    frame: H x W x 3 uint8 BGR pixels; None where nobody needed them.
    """

    camera: str
    header: Header
    size: tuple[int, int]
    received: float
    targets: tuple[TrackedTarget, ...]
    counts: Counts
    rate: float
    frame: Frame | None


@dataclass(frozen=True)
class ImageRefused:
    """An image of a camera could not be used."""

    camera: str
    reason: str


@dataclass(frozen=True)
class TrackingFailed:
    """The tracker, or code around it, raised an error. `camera` is empty where no single camera is concerned."""

    camera: str
    error: Exception


@dataclass(frozen=True)
class FellBack:
    """The device failed and `tracker`, on the CPU, has taken over. The targets named in `dropped` are lost."""

    tracker: Tracker
    error: Exception
    dropped: list[str]


@dataclass(frozen=True)
class GaveUp:
    """The worker has ended, because the tracker fails on every image."""

    error: Exception


@dataclass(frozen=True)
class TimeWentBack:
    """A camera's stamps went back by `seconds`. The targets named in `dropped` were forgotten."""

    camera: str
    seconds: float
    dropped: list[str]


@dataclass(frozen=True)
class StageTimed:
    """A stage of one image (`diagnostics.STAGES`) took this many seconds."""

    stage: str
    seconds: float


Event: TypeAlias = TrackedFrame | ImageRefused | TrackingFailed | FellBack | GaveUp | TimeWentBack | StageTimed
EventHandler: TypeAlias = Callable[[Event], None]
