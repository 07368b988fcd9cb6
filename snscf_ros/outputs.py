"""The node's publishers, and what of a tracked frame goes to which."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from snscf_msgs.msg import TrackStatusArray
from vision_msgs.msg import Detection2D, Detection2DArray

from snscf_core import TrackState
from snscf_ros import images, messages, overlay
from snscf_ros.parameters import Settings
from snscf_ros.tracking import TrackedFrame

_QOS = QoSProfile(depth=5)  # reliable, volatile
_IMAGE_QOS = QoSProfile(depth=1)


class Outputs:
    """Lifecycle publishers: silent unless the node is active."""

    def __init__(self, node: LifecycleNode, settings: Callable[[], Settings]) -> None:
        self._node = node
        self._settings = settings
        self._detections = node.create_lifecycle_publisher(Detection2DArray, "~/detections", _QOS)
        self._detection = node.create_lifecycle_publisher(Detection2D, "~/detection", _QOS)
        self._status = node.create_lifecycle_publisher(TrackStatusArray, "~/status", _QOS)
        self._overlay = node.create_lifecycle_publisher(Image, "~/overlay", _IMAGE_QOS)
        self._overlay_jpeg = node.create_lifecycle_publisher(CompressedImage, "~/overlay/compressed", _IMAGE_QOS)
        self._canvas = images.OutgoingImage()

    def destroy(self) -> None:
        for publisher in (self._detections, self._detection, self._status, self._overlay, self._overlay_jpeg):
            self._node.destroy_lifecycle_publisher(publisher)

    def wants_overlay(self) -> bool:
        """Whether somebody is subscribed to a picture."""
        return self._overlay.get_subscription_count() > 0 or self._overlay_jpeg.get_subscription_count() > 0

    def publish(self, result: TrackedFrame) -> None:
        """Detections first, then their state, then the picture."""
        settings = self._settings()
        header, targets = result.header, result.targets
        detections = messages.detections_message(header, targets, settings.class_id, settings.publish_lost)
        self._detections.publish(detections)
        for target in targets:
            if target.primary and (settings.publish_lost or target.track.state != TrackState.LOST):
                self._detection.publish(
                    messages.detection_message(header, target.target_id, target.track, settings.class_id)
                )
        latency = time.monotonic() - result.received
        self._status.publish(messages.statuses_message(header, result.camera, targets, latency, result.counts))
        if result.frame is not None and self.wants_overlay():
            self._publish_overlay(result, latency, settings.overlay_jpeg_quality)

    def _publish_overlay(self, result: TrackedFrame, latency: float, quality: int) -> None:
        assert result.frame is not None
        height, width = result.frame.shape[:2]
        picture = self._canvas.view(height, width)
        np.copyto(picture, result.frame)
        parts = [result.camera, f"{latency * 1e3:.0f} ms", f"{result.rate:.1f} fps", f"dropped {result.counts.dropped}"]
        overlay.draw(picture, result.targets, "  ".join(part for part in parts if part))
        if self._overlay.get_subscription_count() > 0:
            self._canvas.message.header = result.header
            self._overlay.publish(self._canvas.message)
        if self._overlay_jpeg.get_subscription_count() > 0:
            message = images.jpeg_message(picture, quality)
            message.header = result.header
            self._overlay_jpeg.publish(message)
