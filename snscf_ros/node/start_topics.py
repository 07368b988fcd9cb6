# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Starts targets from topics that other tools publish on: regions and points in the image, and detectors' boxes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from geometry_msgs.msg import Point, PointStamped
from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import RegionOfInterest
from vision_msgs.msg import Detection2D, Detection2DArray

from snscf_core import TrackState
from snscf_ros.image_topics import sensor_qos
from snscf_ros.messages import box_from_message
from snscf_ros.node.cameras import private_topic
from snscf_ros.node.init_requests import ImagePoint
from snscf_ros.node.parameters import Settings
from snscf_ros.node.start_requests import StartRequest, StartRequests
from snscf_ros.stamps import nanoseconds
from snscf_ros.target_registry import Refused, TargetRegistry

_QOS = QoSProfile(depth=10)  # reliable: no click is to be lost
_MOST_NAMED = 10  # ids in a message


class StartTopics:
    """Subscribes to the topics of each camera, and answers each request on `~/events`.

    An array is a request only if it holds the detection that is chosen and that target is not tracked. While none is
    chosen, every array that is not empty is one.
    """

    def __init__(
        self,
        node: Node,
        cameras: Iterable[str],
        targets: Callable[[], TargetRegistry],
        settings: Callable[[], Settings],
        starts: StartRequests,
        waiting: CallbackGroup,
    ) -> None:
        """Subscribe. targets, starts, waiting: as for `TargetServices`."""
        self._targets = targets
        self._settings = settings
        self._starts = starts
        for camera in cameras:
            for name, kind, qos, received in (
                ("init_from_roi", RegionOfInterest, _QOS, self._roi),
                ("init_from_point", PointStamped, _QOS, self._point),
                ("init_from_pixel", Point, _QOS, self._pixel),
                ("init_from_detection", Detection2D, _QOS, self._detection),
                # detectors publish in either way, and often
                ("init_from_detections", Detection2DArray, sensor_qos(), self._detections),
            ):
                callback: Callable[[Any], None] = functools.partial(received, camera)
                topic = private_topic(camera, name)
                node.create_subscription(kind, topic, callback, qos, callback_group=waiting)

    def _roi(self, camera: str, message: RegionOfInterest) -> None:
        box = (message.x_offset, message.y_offset, message.width, message.height)
        self._starts.meet("init_from_roi", lambda: StartRequest(box, camera, 0, self._settings().click_target_id))

    def _point(self, camera: str, message: PointStamped) -> None:
        place = ImagePoint(message.point.x, message.point.y)
        stamp = nanoseconds(message.header.stamp)
        name = self._settings().click_target_id
        # tools often stamp a click with the time at which it was made
        self._starts.meet("init_from_point", lambda: StartRequest(place, camera, stamp, name, or_newest=True))

    def _pixel(self, camera: str, message: Point) -> None:
        place = ImagePoint(message.x, message.y)
        self._starts.meet("init_from_pixel", lambda: StartRequest(place, camera, 0, self._settings().click_target_id))

    def _detection(self, camera: str, message: Detection2D) -> None:
        self._starts.meet("init_from_detection", lambda: self._request_of(camera, message, 0))

    def _detections(self, camera: str, message: Detection2DArray) -> None:
        chosen, detections = self._settings().detection_id, message.detections
        if chosen:
            detections = [detection for detection in detections if detection.id == chosen]
            if self._is_tracked(chosen):
                return
        if not detections:
            return

        def read() -> StartRequest:
            if len(detections) > 1:
                ids = ", ".join(f"'{detection.id}'" for detection in detections[:_MOST_NAMED])
                raise Refused(
                    f"{len(detections)} detections, with the ids {ids}; set the parameter detection_id to one that only"
                    " one of them has"
                )
            return self._request_of(camera, detections[0], nanoseconds(message.header.stamp))

        self._starts.meet("init_from_detections", read, often=True)

    def _is_tracked(self, target_id: str) -> bool:
        """Return whether a target is followed, and neither uncertain nor lost."""
        latest = self._targets().latest()
        if target_id not in latest:
            return False
        track = latest[target_id]
        return track is None or track.state == TrackState.TRACKED

    def _request_of(self, camera: str, detection: Detection2D, stamp_ns: int) -> StartRequest:
        """Make a request from a detector's box. stamp_ns: of the array; some detectors leave that of its parts 0."""
        best = max(detection.results, key=lambda result: result.hypothesis.score, default=None)
        return StartRequest(
            box_from_message(detection.bbox),
            camera,
            nanoseconds(detection.header.stamp) or stamp_ns,
            detection.id or self._settings().click_target_id,
            best.hypothesis.class_id if best else "",
        )
