# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes the messages about positions and predictions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseStamped,
    PoseWithCovariance,
    PoseWithCovarianceStamped,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from snscf_msgs.msg import TargetPrediction
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox3D,
    Detection3D,
    Detection3DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

from snscf_ros.messages import box_to_message
from snscf_ros.position.motion import Prediction
from snscf_ros.position.rigid import Array, Rigid, facing
from snscf_ros.stamps import SECOND, set_stamp
from snscf_ros.target_registry import TrackedTarget

# rad²; an angle of which nothing is known
_ANY_ANGLE = math.pi**2


@dataclass(frozen=True, eq=False)
class Place:
    """Where one target is, in the frame of the header that it is published with.

    point: (3,) m. covariance: 3 x 3, m². facing: 3 x 3, the axes of `facing`. extent: width and height, m; NaN where
    not known.
    """

    target: TrackedTarget
    point: Array
    covariance: Array
    facing: Array
    extent: tuple[float, float]


def facing_from(camera: Rigid, point: Array, fixed: bool) -> Array:
    """Return the axes of a target as seen from the camera: x points away from the camera and is level, z points up.

    camera: from the optical frame to that of the point. fixed: whether z is up in that frame, as ROS has it.
    """
    up = np.array([0.0, 0.0, 1.0]) if fixed else np.array([0.0, -1.0, 0.0])
    return facing(point - camera.shift, up)


def _pose(place: Place) -> Pose:
    x, y, z, w = Rigid(place.facing, np.zeros(3)).quaternion
    return Pose(position=_point(place.point), orientation=Quaternion(x=x, y=y, z=z, w=w))


def _pose_with_covariance(place: Place) -> PoseWithCovariance:
    covariance = np.diag([0.0] * 3 + [_ANY_ANGLE] * 3)
    covariance[:3, :3] = place.covariance
    return PoseWithCovariance(pose=_pose(place), covariance=covariance.ravel())


def pose_message(header: Header, place: Place) -> PoseWithCovarianceStamped:
    return PoseWithCovarianceStamped(header=header, pose=_pose_with_covariance(place))


def plain_pose_message(header: Header, place: Place) -> PoseStamped:
    return PoseStamped(header=header, pose=_pose(place))


def detections_message(header: Header, places: list[Place], class_id: str) -> Detection3DArray:
    """Make the detections of one image. class_id: of targets that took over none from a detector."""
    return Detection3DArray(
        header=header,
        detections=[
            Detection3D(
                header=header,
                id=place.target.target_id,
                results=[
                    ObjectHypothesisWithPose(
                        hypothesis=ObjectHypothesis(
                            class_id=place.target.class_id or class_id, score=float(place.target.track.score)
                        ),
                        pose=_pose_with_covariance(place),
                    )
                ],
                bbox=BoundingBox3D(
                    center=_pose(place), size=Vector3(x=0.0, y=float(place.extent[0]), z=float(place.extent[1]))
                ),
            )
            for place in places
        ],
    )


def transform_message(header: Header, child: str, place: Place) -> TransformStamped:
    x, y, z = (float(value) for value in place.point)
    rotation = _pose(place).orientation
    return TransformStamped(
        header=header,
        child_frame_id=child,
        transform=Transform(translation=Vector3(x=x, y=y, z=z), rotation=rotation),
    )


def prediction_message(
    found: Prediction, stamp_ns: int, measured_ns: int, frame_id: str, camera: str, target: TrackedTarget, frame: str
) -> TargetPrediction:
    """Make the message of what is expected of a target.

    stamp_ns, measured_ns: the moment that is predicted for, and that of the last image with the target.
    frame_id: of the camera's images. frame: of the position.
    """
    message = TargetPrediction(
        target_id=target.target_id,
        camera=camera,
        state=int(target.track.state),
        score=float(target.track.score),
        horizon=(stamp_ns - measured_ns) / SECOND,
        bbox=box_to_message(found.box),
        bbox_covariance=found.box_covariance.ravel(),
        bearing_valid=found.direction is not None,
        position_valid=found.moving is not None,
        position_frame_id=frame if found.moving is not None else "",
    )
    message.header.frame_id = frame_id
    set_stamp(message.header.stamp, stamp_ns)
    set_stamp(message.measured_stamp, measured_ns)
    unknown = np.full(4, math.nan)
    message.bearing = _vector(unknown[:3] if found.direction is None else found.direction)
    angles = unknown if found.angles is None else found.angles
    message.azimuth, message.elevation, message.azimuth_rate, message.elevation_rate = (float(a) for a in angles)
    if found.angle_covariance is not None:
        message.angle_covariance = found.angle_covariance.ravel()
    message.position = _point(unknown[:3] if found.moving is None else found.moving.place)
    message.velocity = _vector(unknown[:3] if found.moving is None else found.moving.velocity)
    if found.moving is not None:
        message.position_covariance = found.moving.covariance.ravel()
    return message


def _point(values: Array) -> Point:
    x, y, z = (float(value) for value in values)
    return Point(x=x, y=y, z=z)


def _vector(values: Array) -> Vector3:
    x, y, z = (float(value) for value in values)
    return Vector3(x=x, y=y, z=z)
