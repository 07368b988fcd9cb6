# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines the message types that bags are read and written with, where no ROS is installed.

`rosbags` does not know vision_msgs, so its definitions are here. Names, order and types are the official ones, because
players and subscribers compare a hash of them: for ROS 2 those of vision_msgs 4.1.1 (Humble and later), for ROS 1 those
of Noetic.
"""

from __future__ import annotations

import functools

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
DETECTION = "vision_msgs/msg/Detection2D"
DETECTIONS = "vision_msgs/msg/Detection2DArray"

VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "Point2D position\nfloat64 theta",
    "BoundingBox2D": "Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "Detection2D": ("std_msgs/Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nstring id"),
    "Detection2DArray": "std_msgs/Header header\nDetection2D[] detections",
}
VISION_MSGS_ROS1 = {
    "BoundingBox2D": "geometry_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "ObjectHypothesisWithPose": "int64 id\nfloat64 score\ngeometry_msgs/PoseWithCovariance pose",
    "Detection2D": (
        "Header header\nObjectHypothesisWithPose[] results\nBoundingBox2D bbox\nsensor_msgs/Image source_img"
    ),
    "Detection2DArray": "Header header\nDetection2D[] detections",
}

_IDL = "=" * 80 + "\nIDL: "


@functools.cache
def store(ros1: bool = False) -> Typestore:
    """Return the types of a ROS distribution with vision_msgs. All distributions of ROS 2 have the same image types."""
    types = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_JAZZY)
    added = {}
    for name, text in (VISION_MSGS_ROS1 if ros1 else VISION_MSGS).items():
        added.update(get_types_from_msg(text, f"vision_msgs/msg/{name}"))
    types.register(added)
    return types


@functools.cache
def store_for(name: str, definition: str, ros1: bool) -> Typestore:
    """Return the types to read messages of one type with: as the bag defines them, except images.

    definition: the bag's definition of the type; empty where it has none.
    Raises what `rosbags` raises for a definition that it cannot read.
    """
    if name in (IMAGE, COMPRESSED) or not definition.strip():
        return store(ros1)
    types = get_typestore(Stores.EMPTY)
    if definition.startswith(_IDL):
        for part in definition.split(_IDL)[1:]:
            types.register(get_types_from_idl(part.partition("\n")[2].split("=" * 80)[0]))
    else:
        types.register(get_types_from_msg(definition, name))
    return types
