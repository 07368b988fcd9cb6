# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Subscribes to the camera and the tracker, and hands what they publish to a `FrameMatcher`."""

from __future__ import annotations

import time

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from snscf_msgs.msg import TrackStatusArray
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from snscf_core import Track, TrackState
from snscf_ros import bringup
from snscf_ros.demo.camera import LATCHED, NODE_NAME, TRUTH_TOPIC
from snscf_ros.demo.frame_matcher import FrameMatcher
from snscf_ros.images import frame_from_image
from snscf_ros.messages import Box, box_from_message
from snscf_ros.stamps import nanoseconds


class Recorder:
    """Listens for a matcher, in the thread of the node's executor.

    tracker_details: what the tracker's diagnostics say of it, by name: model, mode, device, ...
    """

    def __init__(self, node: Node, matcher: FrameMatcher) -> None:
        self.tracker_details: dict[str, str] = {}
        self._matcher = matcher
        # A frame counts as tracked when both its detections and its status have come, in whichever order.
        self._detected: dict[int, tuple[Box | None, float]] = {}
        self._statuses: dict[int, TrackStatusArray] = {}
        tracker = bringup.NODE_NAME
        self._tracker_status = f"{node.get_namespace()}/{tracker}: tracker"
        many = QoSProfile(depth=100)
        subscribe = node.create_subscription
        subscribe(Image, bringup.IMAGE_TOPIC, self._on_image, QoSProfile(depth=20))
        subscribe(Detection2DArray, TRUTH_TOPIC, self._on_truth, many)
        subscribe(Detection2DArray, f"{tracker}/detections", self._on_detections, many)
        subscribe(TrackStatusArray, f"{tracker}/status", self._on_status, many)
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, many)
        subscribe(Header, f"{NODE_NAME}/started", lambda header: matcher.begin(nanoseconds(header.stamp)), LATCHED)
        subscribe(Header, f"{NODE_NAME}/finished", lambda header: matcher.end(nanoseconds(header.stamp)), LATCHED)

    def _on_image(self, message: Image) -> None:
        self._matcher.add_image(nanoseconds(message.header.stamp), frame_from_image(message))

    def _on_truth(self, message: Detection2DArray) -> None:
        self._matcher.add_truth(nanoseconds(message.header.stamp), _first_box(message))

    def _on_detections(self, message: Detection2DArray) -> None:
        stamp = nanoseconds(message.header.stamp)
        self._detected[stamp] = (_first_box(message), (time.time_ns() - stamp) * 1e-9)
        self._match(stamp)

    def _on_status(self, message: TrackStatusArray) -> None:
        stamp = nanoseconds(message.header.stamp)
        self._statuses[stamp] = message
        self._match(stamp)

    def _match(self, stamp: int) -> None:
        if stamp not in self._detected or stamp not in self._statuses:
            return
        (box, latency), status = self._detected.pop(stamp), self._statuses.pop(stamp)
        track = None
        if status.targets:
            target = status.targets[0]
            # A lost target is in the status only, with the box where it may be.
            track = Track(
                box or box_from_message(target.bbox), target.score, TrackState(target.state), target.peak_quality
            )
        self._matcher.add_track(stamp, track, latency)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == self._tracker_status:
                self.tracker_details = {value.key: value.value for value in status.values}


def _first_box(message: Detection2DArray) -> Box | None:
    return box_from_message(message.detections[0].bbox) if message.detections else None
