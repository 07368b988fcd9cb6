# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The cameras: which topics they are read from and with what QoS, and what comes from them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from snscf_ros import images
from snscf_ros.bringup import IMAGE_TOPIC

# what only a node needs is imported where it is used: an `Arrival` may come from a bag, where no ROS is installed
if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image
    from std_msgs.msg import Header

ImageMessage: TypeAlias = "Image | CompressedImage"

INFO_TOPIC = "camera_info"


def sensor_qos() -> QoSProfile:
    """Newest image only, best effort: receives from reliable and from best-effort publishers."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )


@dataclass(frozen=True)
class Arrival:
    """One image message and when it reached the node (monotonic seconds)."""

    message: ImageMessage
    received: float = field(default_factory=time.monotonic)

    @property
    def header(self) -> Header:
        return self.message.header

    @property
    def stamp_ns(self) -> int:
        """The header's stamp in nanoseconds; 0 where the camera gives none."""
        stamp = self.message.header.stamp
        return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)

    @property
    def size(self) -> int:
        """Bytes of pixels or of the compressed file."""
        return len(self.message.data)

    def check(self, max_pixels: int) -> None:
        """Raise ImageRejected if the message cannot be used; nothing is decoded."""
        if self._compressed:
            images.check_compressed(self.message, max_pixels)
        else:
            images.check_image(self.message, max_pixels)

    def frame(self) -> images.Frame:
        """The H x W x 3 uint8 BGR frame; raises ImageRejected if decoding fails."""
        if self._compressed:
            return images.frame_from_compressed(self.message)
        return images.frame_from_image(self.message)

    @property
    def _compressed(self) -> bool:
        # a CompressedImage names its format and an Image its encoding; a bag's messages have classes of their own
        return hasattr(self.message, "format")


@dataclass(frozen=True)
class Counts:
    """What became of a camera's images since the node was activated or reset."""

    received: int = 0
    processed: int = 0
    dropped: int = 0  # overtaken by a newer one, or replaced before their turn
    rejected: int = 0  # could not be used


def topic(camera: str, transport: str) -> str:
    """The relative topic of a camera: image_raw, front/image_raw, front/image_raw/compressed, ..."""
    raw = f"{camera}/{IMAGE_TOPIC}" if camera else IMAGE_TOPIC
    return f"{raw}/compressed" if transport == "compressed" else raw


def subscribe(node: Node, camera: str, transport: str, received: Callable[[str, ImageMessage], None]) -> Subscription:
    """Subscribe to a camera, in a callback group of its own; history, depth and reliability can be overridden by
    qos_overrides parameters. `received` gets the camera's name and the message."""
    from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
    from rclpy.qos_overriding_options import QoSOverridingOptions
    from sensor_msgs.msg import CompressedImage, Image

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
    from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
    from rclpy.qos import QoSPolicyKind
    from rclpy.qos_overriding_options import QoSOverridingOptions
    from sensor_msgs.msg import CameraInfo

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
