"""Core values to ROS messages and back: the one place where the two kinds of boxes meet.

The core's boxes are (x, y, w, h) from the top-left corner, those of vision_msgs are centre-based; both in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from snscf_msgs.msg import TrackStatus, TrackStatusArray
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D, Detection2D, Detection2DArray, ObjectHypothesisWithPose

from snscf_core import Track, TrackState
from snscf_ros.cameras import Counts
from snscf_ros.targets import TrackedTarget

Box = tuple[float, float, float, float]


def box_from_message(message: BoundingBox2D) -> Box:
    """Top-left (x, y, w, h) of a centre-based box; ValueError if it is rotated."""
    if message.center.theta != 0.0:
        raise ValueError(f"theta is {message.center.theta:g}; boxes are upright, theta must be 0")
    centre = message.center.position
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


def box_to_message(box: Box) -> BoundingBox2D:
    """Centre-based message of a top-left (x, y, w, h) box."""
    x, y, w, h = box
    message = BoundingBox2D(size_x=float(w), size_y=float(h))
    message.center.position.x = float(x + w / 2)
    message.center.position.y = float(y + h / 2)
    return message


def detection_message(header: Header, target_id: str, track: Track, class_id: str) -> Detection2D:
    """One target as a detection with a single hypothesis."""
    result = ObjectHypothesisWithPose()
    result.hypothesis.class_id = class_id
    result.hypothesis.score = float(track.score)
    return Detection2D(header=header, results=[result], bbox=box_to_message(track.box), id=target_id)


def detections_message(
    header: Header, tracked: Iterable[TrackedTarget], class_id: str, publish_lost: bool
) -> Detection2DArray:
    """The targets of one frame as detections; lost ones only if `publish_lost`."""
    return Detection2DArray(
        header=header,
        detections=[
            detection_message(header, target.target_id, target.track, class_id)
            for target in tracked
            if publish_lost or target.track.state != TrackState.LOST
        ],
    )


def status_message(header: Header, camera: str, target: TrackedTarget) -> TrackStatus:
    """State of one target after one frame."""
    return TrackStatus(
        header=header,
        target_id=target.target_id,
        camera=camera,
        primary=target.primary,
        state=int(target.track.state),
        score=float(target.track.score),
        peak_quality=float(target.track.peak_quality),
        bbox=box_to_message(target.track.box),
    )


def statuses_message(
    header: Header, camera: str, tracked: Iterable[TrackedTarget], latency: float, counts: Counts
) -> TrackStatusArray:
    """State of all targets of one camera after one frame; `latency` in seconds."""
    return TrackStatusArray(
        header=header,
        camera=camera,
        targets=[status_message(header, camera, target) for target in tracked],
        latency=float(latency),
        frames_received=counts.received,
        frames_processed=counts.processed,
        frames_dropped=counts.dropped,
        frames_rejected=counts.rejected,
    )
