# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Subscribes to the cameras: their topics, their quality of service, and their names in messages to the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import NameValidationException
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from snscf_ros import qos_overrides
from snscf_ros.image_topics import COMPRESSED_SUFFIX, image_topic, is_remapped, sensor_qos, topic
from snscf_ros.images import ImageMessage, ImageRejected
from snscf_ros.node import rclpy_private
from snscf_ros.node.intake import serialized_images

INFO_TOPIC = "camera_info"


class SettingRefused(ValueError):
    """The node cannot be started as it was asked to; the text says why, in one sentence."""


def phrase(camera: str) -> str:
    """Name a camera for the user; one without a name is "the camera"."""
    return f"camera '{camera}'" if camera else "the camera"


def private_topic(camera: str, name: str) -> str:
    """Return a topic of the node that belongs to one camera: ~/overlay, ~/front/overlay, ..."""
    prefix = camera.lstrip("~/")  # a camera's name may be absolute or private
    return f"~/{prefix}/{name}" if prefix else f"~/{name}"


def overlay_topic(camera: str) -> str:
    """Return the private topic of a camera's overlay."""
    return private_topic(camera, "overlay")


def check(node: Node, names: Sequence[str], transport: str, others: Sequence[str] = ()) -> None:
    """Check that the cameras can be subscribed to as the node's parameters and remappings say, before it does so.

    others: relative topics that the node reads too.
    Logs warnings of what has no effect. Raises SettingRefused.
    """
    images: dict[str, str] = {}
    overlays: dict[str, str] = {}
    for name in names:
        try:
            resolved = image_topic(node, name, transport)
        except (NameValidationException, ValueError) as error:
            raise SettingRefused(f"cameras: '{name}' makes no topic: {' '.join(str(error).split())}") from error
        for taken, own, what in ((images, resolved, "read"), (overlays, overlay_topic(name), "publish")):
            if own in taken:
                raise SettingRefused(f"cameras: '{taken[own]}' and '{name}' would both {what} {own}")
            taken[own] = name
    topics = [*images, *(info_topic(node, name, own) for own, name in images.items())]
    topics += [node.resolve_topic_name(other) for other in others]
    given = rclpy_private.parameter_overrides(node)
    if reason := qos_overrides.refused(given, topics):
        raise SettingRefused(reason)
    for text in qos_overrides.without_effect(given, topics):
        node.get_logger().warning(text)


def subscribe(
    node: Node,
    camera: str,
    transport: str,
    received: Callable[[str, ImageMessage], None],
    refused: Callable[[str, str], None],
    group: CallbackGroup,
) -> Subscription:
    """Subscribe to a camera.

    received: called with the camera's name and each message, which stays serialised.
    refused: called with the camera's name and the reason where something else than a message came.
    Parameters qos_overrides.* may change history, depth, reliability and durability.
    """
    own = topic(camera, transport)
    kind = CompressedImage if transport == "compressed" else Image
    read = serialized_images.reader(kind)

    def take(serialized: bytes) -> None:
        try:
            message = read(serialized)
        except ImageRejected as reason:
            refused(camera, str(reason))
        else:
            received(camera, message)

    return node.create_subscription(
        kind,
        own if is_remapped(node, own) else image_topic(node, camera, transport),
        take,
        sensor_qos(),
        callback_group=group,
        qos_overriding_options=qos_overrides.options(),
        raw=True,
    )


def info_topic(node: Node, camera: str, image_topic: str) -> str:
    """Return the topic of a camera's calibration: `camera_info` beside its images, wherever those are remapped to.

    A remapping of `camera_info` (front/camera_info, ...) itself takes precedence.
    image_topic: the resolved topic of the camera's images.
    """
    own = f"{camera}/{INFO_TOPIC}" if camera else INFO_TOPIC
    if is_remapped(node, own):
        resolved: str = node.resolve_topic_name(own)
        return resolved
    base = image_topic.removesuffix(COMPRESSED_SUFFIX)
    return f"{base.rpartition('/')[0]}/{INFO_TOPIC}"


def subscribe_info(
    node: Node, camera: str, image_topic: str, received: Callable[[str, CameraInfo], None], group: CallbackGroup
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
        callback_group=group,
        qos_overriding_options=qos_overrides.options(),
    )
