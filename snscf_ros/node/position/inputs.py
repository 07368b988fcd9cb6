# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Receives what positions are computed from: the depth images beside a camera's images, and the transforms of /tf."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable

from geometry_msgs.msg import TransformStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from tf2_msgs.msg import TFMessage

from snscf_ros import qos_overrides
from snscf_ros.bringup import DEPTH_TOPIC
from snscf_ros.image_topics import sensor_qos
from snscf_ros.position.rigid import Rigid
from snscf_ros.position.transform_buffer import TransformBuffer
from snscf_ros.stamps import SECOND, nanoseconds

# ns after the last transform for which the camera's movement is continued, for an image
BEYOND_IMAGE = SECOND // 10
# depth images that are kept of a camera: some more than come while an image is tracked
_KEPT = 12
# stamps of an image and its depth image that differ by no more belong together
_SAME = SECOND // 50
# s without a depth image after which none is waited for
_ALIVE = 1.0
_TF_QOS = QoSProfile(depth=100)
_STATIC_QOS = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def depth_topic(camera: str) -> str:
    """Return the relative topic of a camera's depth images: depth/image_raw, front/depth/image_raw, ..."""
    return f"{camera}/{DEPTH_TOPIC}" if camera else DEPTH_TOPIC


class DepthStream:
    """The last depth images of one camera. Not locked: its owner guards it."""

    def __init__(self) -> None:
        self._images: deque[Image] = deque(maxlen=_KEPT)
        self._received: float | None = None

    def add(self, message: Image) -> None:
        if self._images and nanoseconds(message.header.stamp) < nanoseconds(self._images[-1].header.stamp):
            self._images.clear()  # a recording starts again
        self._images.append(message)
        self._received = time.monotonic()

    def at(self, stamp_ns: int) -> Image | None:
        """Return the depth image that belongs to an image of that stamp; None until it comes."""
        nearest = min(self._images, key=lambda image: abs(nanoseconds(image.header.stamp) - stamp_ns), default=None)
        if nearest is None or abs(nanoseconds(nearest.header.stamp) - stamp_ns) > _SAME:
            return None
        return nearest

    def may_come(self, stamp_ns: int) -> bool:
        """Return whether the depth image of that stamp may still be under way."""
        alive = self._received is not None and time.monotonic() - self._received < _ALIVE
        return alive and nanoseconds(self._images[-1].header.stamp) < stamp_ns


def subscribe_depth(node: Node, camera: str, received: Callable[[str, Image], None]) -> Subscription:
    """Subscribe to a camera's depth images. received: called with the camera's name and each message."""
    return node.create_subscription(
        Image,
        node.resolve_topic_name(depth_topic(camera)),
        lambda message: received(camera, message),
        sensor_qos(),
        callback_group=MutuallyExclusiveCallbackGroup(),
        qos_overriding_options=qos_overrides.options(),
    )


class Transforms:
    """The transforms of /tf and /tf_static. Safe to use from several threads."""

    def __init__(self, received: Callable[[str], None]) -> None:
        """Start without any. received: called after each message with what is wrong in it; empty if nothing is."""
        self._received = received
        self._lock = threading.Lock()
        self._buffer = TransformBuffer()

    def subscribe(self, node: Node) -> list[Subscription]:
        """Receive what comes from now on."""
        group = MutuallyExclusiveCallbackGroup()
        return [
            node.create_subscription(TFMessage, topic, functools.partial(self._take, static), qos, callback_group=group)
            for topic, qos, static in (("/tf", _TF_QOS, False), ("/tf_static", _STATIC_QOS, True))
        ]

    def forget(self) -> None:
        """Forget everything that came."""
        with self._lock:
            self._buffer = TransformBuffer()

    def find(self, target: str, source: str, stamp_ns: int, beyond_ns: int = 0) -> Rigid:
        """Return what takes points of `source` to those of `target`, as `TransformBuffer.find` does."""
        with self._lock:
            return self._buffer.find(target, source, stamp_ns, beyond_ns)

    def _take(self, static: bool, message: TFMessage) -> None:
        with self._lock:
            problem = keep(self._buffer, message, static)
        self._received(problem)


def keep(buffer: TransformBuffer, message: TFMessage, static: bool) -> str:
    """Add the transforms of a message to a buffer. Return what is wrong with the last broken one; empty if none is."""
    problem = ""
    for one in message.transforms:
        try:
            transform = rigid(one)
        except ValueError as error:
            problem = f"/tf from '{one.child_frame_id}' to '{one.header.frame_id}': {error}"
            continue
        buffer.add(one.header.frame_id, one.child_frame_id, nanoseconds(one.header.stamp), transform, static)
    return problem


def rigid(message: TransformStamped) -> Rigid:
    """Return the transform of a message, from its child frame to its parent. Raises ValueError if it is broken."""
    q, t = message.transform.rotation, message.transform.translation
    return Rigid.from_quaternion((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))
