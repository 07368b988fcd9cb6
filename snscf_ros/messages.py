# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Converts values of the core to ROS messages and back. The two kinds of boxes meet only here.

The core's boxes are (x, y, w, h) from the top-left corner, those of vision_msgs are centre-based; both in pixels.

A `MessageClasses` gives the class of a message by its name, such as `vision_msgs/msg/Detection2D`. The default gives
those of ROS; bags hand in others, because they can be written where no ROS is installed.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from snscf_core import Track, TrackState
from snscf_ros.target_registry import TrackedTarget

if TYPE_CHECKING:
    from snscf_msgs.msg import TrackStatus, TrackStatusArray
    from std_msgs.msg import Header
    from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray

    from snscf_ros.camera_model import Bearing

Box = tuple[float, float, float, float]
MessageClasses = Callable[[str], Callable[..., Any]]


@dataclass(frozen=True)
class Counts:
    """What became of a camera's images since the node was activated or reset.

    received: all that came.
    processed: those that were tracked.
    dropped: those that a newer image overtook, or replaced before their turn.
    rejected: those that could not be used.
    """

    received: int = 0
    processed: int = 0
    dropped: int = 0
    rejected: int = 0


@functools.cache
def ros_class(name: str) -> Callable[..., Any]:
    """Return the class of an installed ROS message by its full name. Raises ImportError where it is missing."""
    module, _, message = name.replace("/", ".").rpartition(".")
    found: Callable[..., Any] = getattr(importlib.import_module(module), message)
    return found


def box_from_message(message: BoundingBox2D) -> Box:
    """Return the top-left (x, y, w, h) of a centre-based box.

    Raises ValueError, naming the field, for a rotated box, a number that isn't finite, or a size that isn't positive.
    """
    if message.center.theta != 0.0:
        raise ValueError(f"theta is {message.center.theta:g}; boxes are upright, theta must be 0")
    # before vision_msgs 4 the centre had x and y itself
    centre = getattr(message.center, "position", message.center)
    for name, value in (
        ("center.position.x", centre.x),
        ("center.position.y", centre.y),
        ("size_x", message.size_x),
        ("size_y", message.size_y),
    ):
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}, must be a finite number")
        if name.startswith("size") and value <= 0:
            raise ValueError(f"{name} is {value:g}, must be greater than 0")
    return (centre.x - message.size_x / 2, centre.y - message.size_y / 2, message.size_x, message.size_y)


def box_to_message(box: Box, classes: MessageClasses = ros_class) -> BoundingBox2D:
    """Make the centre-based message of a top-left (x, y, w, h) box."""
    x, y, w, h = box
    centre = classes("vision_msgs/msg/Pose2D")(
        position=classes("vision_msgs/msg/Point2D")(x=float(x + w / 2), y=float(y + h / 2)), theta=0.0
    )
    return classes("vision_msgs/msg/BoundingBox2D")(center=centre, size_x=float(w), size_y=float(h))


def detection_message(
    header: Header, target_id: str, track: Track, class_id: str, classes: MessageClasses = ros_class
) -> Detection2D:
    """Make a detection with a single hypothesis of one target."""
    result = classes("vision_msgs/msg/ObjectHypothesisWithPose")(
        hypothesis=classes("vision_msgs/msg/ObjectHypothesis")(class_id=class_id, score=float(track.score)),
        pose=_no_pose(classes),
    )
    return classes("vision_msgs/msg/Detection2D")(
        header=header, results=[result], bbox=box_to_message(track.box, classes), id=target_id
    )


def _no_pose(classes: MessageClasses) -> Any:
    """Make the pose that ROS fills in where none is given."""
    origin = classes("geometry_msgs/msg/Pose")(
        position=classes("geometry_msgs/msg/Point")(x=0.0, y=0.0, z=0.0),
        orientation=classes("geometry_msgs/msg/Quaternion")(x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return classes("geometry_msgs/msg/PoseWithCovariance")(pose=origin, covariance=np.zeros(36))


def detections_message(
    header: Header,
    tracked: Iterable[TrackedTarget],
    class_id: str,
    publish_lost: bool,
    classes: MessageClasses = ros_class,
) -> Detection2DArray:
    """Make the detections of one frame's targets, of lost ones only if `publish_lost`."""
    return classes("vision_msgs/msg/Detection2DArray")(
        header=header,
        detections=[
            detection_message(header, target.target_id, target.track, target.class_id or class_id, classes)
            for target in tracked
            if publish_lost or target.track.state != TrackState.LOST
        ],
    )


def status_message(header: Header, camera: str, target: TrackedTarget, bearing: Bearing | None = None) -> TrackStatus:
    """Make the status of one target after one frame. bearing: None where it is not known."""
    x, y, z = bearing.direction if bearing else (math.nan,) * 3
    return ros_class("snscf_msgs/msg/TrackStatus")(
        header=header,
        target_id=target.target_id,
        camera=camera,
        primary=target.primary,
        state=int(target.track.state),
        score=float(target.track.score),
        peak_quality=float(target.track.peak_quality),
        bbox=box_to_message(target.track.box),
        bearing_valid=bearing is not None,
        bearing=ros_class("geometry_msgs/msg/Vector3")(x=x, y=y, z=z),
        angular_width=bearing.angular_width if bearing else math.nan,
        angular_height=bearing.angular_height if bearing else math.nan,
    )


def statuses_message(
    header: Header,
    camera: str,
    size: tuple[int, int],
    tracked: Iterable[TrackedTarget],
    latency: float,
    counts: Counts,
    bearings: Mapping[str, Bearing],
    problem: str = "",
    restarts: int = 0,
) -> TrackStatusArray:
    """Make the status of all targets of one camera after one frame.

    size: width and height of the image in pixels.
    latency: seconds from the image's arrival.
    bearings: by target id, as far as they are known.
    problem: what is wrong with how the camera is read.
    restarts: how often the process was started again.
    """
    return ros_class("snscf_msgs/msg/TrackStatusArray")(
        header=header,
        camera=camera,
        image_width=size[0],
        image_height=size[1],
        targets=[status_message(header, camera, target, bearings.get(target.target_id)) for target in tracked],
        latency=float(latency),
        frames_received=counts.received,
        frames_processed=counts.processed,
        frames_dropped=counts.dropped,
        frames_rejected=counts.rejected,
        problem=problem,
        restarts=restarts,
    )
