"""The cameras: which topics they are read from and with what QoS, and the newest image of each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from snscf_ros import images
from snscf_ros.bringup import IMAGE_TOPIC

# what only a node needs is imported where it is used: an `Arrival` may come from a bag, where no ROS is installed
if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile
    from rclpy.subscription import Subscription
    from sensor_msgs.msg import CompressedImage, Image
    from std_msgs.msg import Header

ImageMessage: TypeAlias = "Image | CompressedImage"


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
    dropped: int = 0  # replaced by a newer one before their turn
    rejected: int = 0  # could not be used


class Camera:
    """One camera's newest image and counts. Not locked: its owner, the tracking thread, guards it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.newest: Arrival | None = None
        self.counts = Counts()
        self.last_received: float | None = None
        self._waiting = False
        self._processed_at: deque[float] = deque(maxlen=30)

    def offer(self, arrival: Arrival, wanted: bool) -> None:
        """Put a usable image into the slot, over an older one; `wanted` if it should be taken."""
        if self._waiting:
            self.counts = replace(self.counts, dropped=self.counts.dropped + 1)
        self.newest = arrival
        self._waiting = wanted

    def take(self) -> Arrival | None:
        """The newest image if it has not been taken yet. It stays `newest`."""
        if not self._waiting:
            return None
        self._waiting = False
        return self.newest

    def pass_over(self) -> None:
        """Leave the newest image alone if it has not been taken yet."""
        self._waiting = False

    def count_received(self) -> None:
        self.counts = replace(self.counts, received=self.counts.received + 1)
        self.last_received = time.monotonic()

    def count_rejected(self) -> None:
        self.counts = replace(self.counts, rejected=self.counts.rejected + 1)

    def count_processed(self) -> None:
        self.counts = replace(self.counts, processed=self.counts.processed + 1)
        self._processed_at.append(time.monotonic())

    def forget(self) -> None:
        """Back to no image and all counts zero."""
        self.newest = None
        self._waiting = False
        self.counts = Counts()
        self._processed_at.clear()

    @property
    def rate(self) -> float:
        """Images tracked in a second, over the last 30; 0 before the second one."""
        times = self._processed_at
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])


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
