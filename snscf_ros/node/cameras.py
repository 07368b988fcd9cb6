# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The cameras: which topics they are read from and with what QoS, and what comes from them."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from snscf_ros.bringup import IMAGE_TOPIC
from snscf_ros.received_image import ImageMessage

INFO_TOPIC = "camera_info"


def sensor_qos() -> QoSProfile:
    """Newest image only, best effort: receives from reliable and from best-effort publishers."""
    return QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


def topic(camera: str, transport: str) -> str:
    """The relative topic of a camera: image_raw, front/image_raw, front/image_raw/compressed, ..."""
    raw = f"{camera}/{IMAGE_TOPIC}" if camera else IMAGE_TOPIC
    return f"{raw}/compressed" if transport == "compressed" else raw


def subscribe(node: Node, camera: str, transport: str, received: Callable[[str, ImageMessage], None]) -> Subscription:
    """Subscribe to a camera, in a callback group of its own; history, depth and reliability can be overridden by
    qos_overrides parameters. `received` gets the camera's name and the message."""
    return node.create_subscription(
        CompressedImage if transport == "compressed" else Image,
        topic(camera, transport),
        lambda message: received(camera, message),
        sensor_qos(),
        callback_group=MutuallyExclusiveCallbackGroup(),
        qos_overriding_options=QoSOverridingOptions.with_default_policies(),
    )


def is_remapped(node: Node, topic: str) -> bool:
    """Whether the node is told to call a relative topic something else."""
    return bool(node.resolve_topic_name(topic) != node.resolve_topic_name(topic, only_expand=True))


def info_topic(node: Node, camera: str, image_topic: str) -> str:
    """Where the calibration of a camera comes from: `camera_info` beside its images, wherever those are remapped to,
    unless `camera_info` (front/camera_info, ...) is remapped itself. `image_topic`: as subscribed to."""
    own = f"{camera}/{INFO_TOPIC}" if camera else INFO_TOPIC
    if is_remapped(node, own):
        resolved: str = node.resolve_topic_name(own)
        return resolved
    base = image_topic.removesuffix("/compressed")
    return f"{base.rpartition('/')[0]}/{INFO_TOPIC}"


def subscribe_info(
    node: Node, camera: str, image_topic: str, received: Callable[[str, CameraInfo], None]
) -> Subscription:
    """Subscribe to a camera's calibration; `received` gets the camera's name and the message. Its durability can be
    overridden too, for a calibration that is published once, transient local."""
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
