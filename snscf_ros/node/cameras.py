# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Subscribes to the cameras: their topics, their quality of service, and their names in messages to the user."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from snscf_ros.image_topics import sensor_qos, topic
from snscf_ros.images import ImageMessage

INFO_TOPIC = "camera_info"


def phrase(camera: str) -> str:
    """Name a camera for the user; one without a name is "the camera"."""
    return f"camera '{camera}'" if camera else "the camera"


def subscribe(node: Node, camera: str, transport: str, received: Callable[[str, ImageMessage], None]) -> Subscription:
    """Subscribe to a camera, in a callback group of its own.

    received: called with the camera's name and each message.
    Parameters qos_overrides.* may change history, depth and reliability.
    """
    return node.create_subscription(
        CompressedImage if transport == "compressed" else Image,
        topic(camera, transport),
        lambda message: received(camera, message),
        sensor_qos(),
        callback_group=MutuallyExclusiveCallbackGroup(),
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )


def is_remapped(node: Node, topic: str) -> bool:
    """Return whether a remapping gives a relative topic another name."""
    return bool(node.resolve_topic_name(topic) != node.resolve_topic_name(topic, only_expand=True))


def info_topic(node: Node, camera: str, image_topic: str) -> str:
    """Return the topic of a camera's calibration: `camera_info` beside its images, wherever those are remapped to.

    A remapping of `camera_info` (front/camera_info, ...) itself takes precedence.
    image_topic: the resolved topic of the camera's images.
    """
    own = f"{camera}/{INFO_TOPIC}" if camera else INFO_TOPIC
    if is_remapped(node, own):
        resolved: str = node.resolve_topic_name(own)
        return resolved
    base = image_topic.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/{INFO_TOPIC}"


def subscribe_info(
    node: Node, camera: str, image_topic: str, received: Callable[[str, CameraInfo], None]
) -> Subscription:
    """Subscribe to a camera's calibration.

    received: called with the camera's name and each message.
    Parameters qos_overrides.* may change the durability too, for a calibration that is published once, transient local.
    """
    return node.create_subscription(
        CameraInfo,
        info_topic(node, camera, image_topic),
        lambda message: received(camera, message),
        sensor_qos(),
        callback_group=MutuallyExclusiveCallbackGroup(),
        qos_overriding_options=QoSOverridingOptions(
            [QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY]
        ),
    )
