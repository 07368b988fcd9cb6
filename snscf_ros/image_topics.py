# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names the topics on which images arrive, and gives the quality of service with which they are received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snscf_ros.bringup import IMAGE_TOPIC

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile

COMPRESSED_SUFFIX = "/compressed"


def topic(camera: str, transport: str) -> str:
    """Return the relative topic of a camera: image_raw, front/image_raw, front/image_raw/compressed, ..."""
    raw = f"{camera}/{IMAGE_TOPIC}" if camera else IMAGE_TOPIC
    return f"{raw}{COMPRESSED_SUFFIX}" if transport == "compressed" else raw


def is_remapped(node: Node, topic: str) -> bool:
    """Return whether a remapping gives a relative topic another name."""
    return bool(node.resolve_topic_name(topic) != node.resolve_topic_name(topic, only_expand=True))


def image_topic(node: Node, camera: str, transport: str) -> str:
    """Return the resolved topic of a camera's images.

    As with image_transport, a remapping of image_raw (front/image_raw, ...) holds for image_raw/compressed too, unless
    that is remapped itself.
    """
    own, raw = topic(camera, transport), topic(camera, "raw")
    if own == raw or is_remapped(node, own):
        resolved: str = node.resolve_topic_name(own)
        return resolved
    return f"{node.resolve_topic_name(raw)}{COMPRESSED_SUFFIX}"


def sensor_qos() -> QoSProfile:
    """Return the profile "newest image only, best effort", which receives from every kind of publisher."""
    from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

    return QoSProfile(
        depth=1,
        history=HistoryPolicy.KEEP_LAST,
        reliability=ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.VOLATILE,
    )
