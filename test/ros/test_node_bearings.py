# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Directions to the targets, where the camera says how it sees."""

from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import Scene, box_of, image_message, key, stamp_of, wait_for
from sensor_msgs.msg import CameraInfo
from snscf_msgs.msg import TrackStatusArray


def calibration(width: int, height: int, focal: float) -> CameraInfo:
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    message.d = [0.0] * 5
    message.k = [focal, 0.0, (width - 1) / 2, 0.0, focal, (height - 1) / 2, 0.0, 0.0, 1.0]
    return message


@contextmanager
def calibrated(tracker, topic: str, message: CameraInfo, qos: QoSProfile | int = 5):
    """Somebody who publishes a calibration; gives a function that does so."""
    publisher = tracker.peer.node.create_publisher(CameraInfo, topic, qos)
    try:
        wait_for(publisher.get_subscription_count, f"subscription to {topic}")
        yield lambda: publisher.publish(message)
    finally:
        tracker.peer.node.destroy_publisher(publisher)


def status_of_next(camera, statuses):
    camera.next()
    return status_of(camera.number - 1, statuses)


def status_of(number: int, statuses):
    """The target's status in a frame."""
    wanted = key(stamp_of(number))
    status = wait_for(lambda: next((s for s in statuses if key(s.header.stamp) == wanted), None), "status")
    return status.targets[0]


@pytest.mark.slow
def test_bearing_is_that_of_the_box_where_the_calibration_is_known_and_fits(start):
    """Calibrations are read beside the images, wherever those are remapped to; this one is of images twice as large."""
    tracker = start(namespace="moved", remappings={"image_raw": "/rig/left/image_raw"})
    tracker.activate()
    scene = Scene(320, 240, 48)
    with (
        tracker.camera(scene, topic="/rig/left/image_raw") as camera,
        tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
    ):
        camera.next()
        assert tracker.init(camera.truth, "it").success
        unknown = status_of_next(camera, statuses)
        assert not unknown.bearing_valid
        for value in (unknown.bearing.x, unknown.bearing.y, unknown.bearing.z):
            assert math.isnan(value)
        assert math.isnan(unknown.angular_width) and math.isnan(unknown.angular_height)

        with calibrated(tracker, "/rig/left/camera_info", calibration(640, 480, 600.0)) as tell:

            def known():
                tell()
                status = status_of_next(camera, statuses)
                return status if status.bearing_valid else None

            status = wait_for(known, "a bearing")
        x, y, w, h = box_of(status)
        ray = np.array([x + w / 2 - 160, y + h / 2 - 120, 300.0])
        bearing = (status.bearing.x, status.bearing.y, status.bearing.z)
        assert bearing == pytest.approx(ray / np.linalg.norm(ray), abs=1e-9)
        # off the axis a side is seen at a slant
        assert 0.8 * w / 300 < status.angular_width < w / 300
        assert 0.8 * h / 300 < status.angular_height < h / 300

        wide = np.zeros((240, 640, 3), np.uint8)
        wide[:, :320] = scene.frame(camera.number)
        camera.send_until_tracked(image_message(wide, "bgr8", stamp_of(camera.number)))
        assert not status_of(camera.number - 1, statuses).bearing_valid
        assert "images are 640 x 240, but the calibration is of 640 x 480" in tracker.process.log()


@pytest.mark.slow
def test_calibration_that_was_published_once_is_received_where_its_durability_is_said(start):
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    overrides = {
        "qos_overrides./latched/camera_info.subscription.durability": "transient_local",
        "qos_overrides./latched/camera_info.subscription.reliability": "reliable",
    }
    tracker = start(namespace="latched", parameters=overrides)
    tracker.transition("configure")
    publisher = tracker.peer.node.create_publisher(CameraInfo, "/latched/camera_info", latched)
    try:
        publisher.publish(calibration(320, 240, 300.0))
        tracker.transition("activate")
        with (
            tracker.camera(Scene(320, 240, 48)) as camera,
            tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
        ):
            camera.next()
            assert tracker.init(camera.truth, "it").success
            wait_for(lambda: status_of_next(camera, statuses).bearing_valid, "a bearing")
    finally:
        tracker.peer.node.destroy_publisher(publisher)
