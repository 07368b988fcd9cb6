# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node's publishers: sends what is known of a tracked frame to the topics."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
from rclpy.lifecycle import LifecycleNode, LifecyclePublisher
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from snscf_msgs.msg import TrackStatusArray
from std_msgs.msg import Header
from vision_msgs.msg import Detection2D, Detection2DArray

from snscf_core import TrackState
from snscf_ros import images, messages, overlay
from snscf_ros.camera_model import Bearing
from snscf_ros.node.camera_stream import CameraReport
from snscf_ros.node.cameras import overlay_topic, private_topic
from snscf_ros.node.events import TrackedFrame
from snscf_ros.node.parameters import Settings

_QOS = QoSProfile(depth=5)  # reliable, volatile
_IMAGE_QOS = QoSProfile(depth=1)


class _OverlayPublishers:
    """Publishes pictures of one camera with what was found, raw and compressed, while somebody is subscribed."""

    def __init__(self, node: LifecycleNode, camera: str) -> None:
        topic = overlay_topic(camera)
        self.raw = node.create_lifecycle_publisher(Image, topic, _IMAGE_QOS)
        self.jpeg = node.create_lifecycle_publisher(CompressedImage, f"{topic}/compressed", _IMAGE_QOS)
        self._canvas = images.OutgoingImage()

    @property
    def wanted(self) -> bool:
        return self.raw.get_subscription_count() > 0 or self.jpeg.get_subscription_count() > 0

    def publish(self, result: TrackedFrame, latency: float, quality: int) -> None:
        """Draw the targets into the frame and publish it. latency: seconds; quality: of the JPEG, 1 to 100."""
        assert result.frame is not None
        height, width = result.frame.shape[:2]
        picture = self._canvas.view(height, width)
        np.copyto(picture, result.frame)
        parts = [result.camera, f"{latency * 1e3:.0f} ms", f"{result.rate:.1f} fps", f"dropped {result.counts.dropped}"]
        overlay.draw(picture, result.targets, "  ".join(part for part in parts if part))
        if self.raw.get_subscription_count() > 0:
            self._canvas.message.header = result.header
            self.raw.publish(self._canvas.message)
        if self.jpeg.get_subscription_count() > 0:
            message = images.jpeg_message(picture, quality)
            message.header = result.header
            self.jpeg.publish(message)


class Publishers:
    """Lifecycle publishers, silent unless the node is active."""

    def __init__(
        self, node: LifecycleNode, cameras: Iterable[str], settings: Callable[[], Settings], restarts: int = 0
    ) -> None:
        """Create the publishers. restarts: how often the process was started again, for the status."""
        self._node = node
        self._restarts = restarts
        self._settings = settings
        self._detections = node.create_lifecycle_publisher(Detection2DArray, "~/detections", _QOS)
        self._detection = node.create_lifecycle_publisher(Detection2D, "~/detection", _QOS)
        self._status = node.create_lifecycle_publisher(TrackStatusArray, "~/status", _QOS)
        self._overlays = {camera: _OverlayPublishers(node, camera) for camera in cameras}
        self._annotations: dict[str, LifecyclePublisher] = {}  # by camera
        if (kind := overlay.annotations_class()) is not None:
            for camera in self._overlays:
                topic = private_topic(camera, "annotations")
                self._annotations[camera] = node.create_lifecycle_publisher(kind, topic, _QOS)
        # what makes the last status, by camera; frames and silences are published from different threads
        self._last_status: dict[str, Callable[[], TrackStatusArray]] = {}
        self._status_lock = threading.Lock()

    def destroy(self) -> None:
        pictures = [publisher for one in self._overlays.values() for publisher in (one.raw, one.jpeg)]
        annotations = self._annotations.values()
        for publisher in (self._detections, self._detection, self._status, *annotations, *pictures):
            self._node.destroy_lifecycle_publisher(publisher)

    def wanted(self, camera: str) -> bool:
        """Return whether somebody is subscribed to the results of a camera."""
        results = [self._detections, self._status]
        if camera in self._annotations:
            results.append(self._annotations[camera])
        return any(one.get_subscription_count() > 0 for one in results) or self.wants_overlay(camera)

    def wants_overlay(self, camera: str) -> bool:
        """Return whether somebody is subscribed to a picture of the camera."""
        return self._overlays[camera].wanted

    def publish(self, result: TrackedFrame, bearings: Mapping[str, Bearing], problem: str) -> None:
        """Publish the detections first, then their state, then the overlays, as annotations and as picture.

        What nobody is subscribed to is not made.

        bearings: by target id, where they are known.
        problem: what is wrong with how the camera is read; empty if nothing is.
        """
        settings = self._settings()
        header, targets = result.header, result.targets
        if self._detections.get_subscription_count() > 0:
            detections = messages.detections_message(header, targets, settings.class_id, settings.publish_lost)
            self._detections.publish(detections)
        for target in targets:
            if target.primary and (settings.publish_lost or target.track.state != TrackState.LOST):
                class_id = target.class_id or settings.class_id
                self._detection.publish(messages.detection_message(header, target.target_id, target.track, class_id))
        latency = time.monotonic() - result.received
        status = functools.partial(
            messages.statuses_message,
            header,
            result.camera,
            result.size,
            targets,
            latency,
            result.counts,
            bearings,
            problem,
            self._restarts,
        )
        with self._status_lock:
            self._last_status[result.camera] = status
            if self._status.get_subscription_count() > 0:
                self._status.publish(status())
        annotations = self._annotations.get(result.camera)
        if annotations is not None and annotations.get_subscription_count() > 0:
            annotations.publish(overlay.annotations_message(header, targets))
        if result.frame is not None and self.wants_overlay(result.camera):
            self._overlays[result.camera].publish(result, latency, settings.overlay_jpeg_quality)

    def publish_silence(self, camera: str, report: CameraReport, followed: Collection[str], problem: str) -> None:
        """Publish that a camera is silent, with the last known state of its targets.

        followed: names of the targets that still exist; the others are left out.
        problem: why it is silent, as far as that is known.
        """
        counts = report.counts
        with self._status_lock:
            last = self._last_status.get(camera)
            status = last() if last else TrackStatusArray(header=report.header or Header(), camera=camera)
            self._status.publish(
                TrackStatusArray(
                    header=report.header or status.header,
                    camera=camera,
                    image_width=status.image_width,
                    image_height=status.image_height,
                    targets=[target for target in status.targets if target.target_id in followed],
                    frames_received=counts.received,
                    frames_processed=counts.processed,
                    frames_dropped=counts.dropped,
                    frames_rejected=counts.rejected,
                    camera_silent=True,
                    restarts=self._restarts,
                    problem=problem,
                )
            )
