# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images that cannot be used are counted and told, the node stays up, and the next good image is tracked."""

from __future__ import annotations

import array
import time

import cv2
import numpy as np
import pytest
from ros_harness import box_of, compressed_message, image_message, iou, key, stamp_of, wait_for
from sensor_msgs.msg import CompressedImage, Image
from snscf_msgs.msg import TrackStatusArray


def header_only(width: int, height: int, step: int, encoding: str = "bgr8", size: int = 64) -> Image:
    """An Image whose header says one thing and whose data is `size` zeros."""
    message = Image(width=width, height=height, step=step, encoding=encoding)
    message.data = array.array("B", bytes(size))
    return message


def truncated() -> Image:
    message = image_message(np.zeros((240, 320, 3), np.uint8), "bgr8")
    message.data = message.data[:1000]
    return message


BAD = {
    "truncated": (truncated, "1000 bytes"),
    "no data": (lambda: header_only(320, 240, 960, size=0), "0 bytes"),
    "too much data": (lambda: header_only(320, 240, 960, size=240 * 960 + 1), "230401 bytes"),
    "zero width": (lambda: header_only(0, 240, 960), "width is 0"),
    "zero height": (lambda: header_only(320, 0, 960, size=0), "height is 0"),
    "zero step": (lambda: header_only(320, 240, 0, size=0), "step is 0"),
    "short step": (lambda: header_only(320, 240, 959, size=959 * 240), "step is 959"),
    "1x1": (lambda: image_message(np.zeros((1, 1, 3), np.uint8), "bgr8"), "width is 1 pixel"),
    "absurd": (lambda: header_only(100_000, 100_000, 300_000), "10000000000 pixels"),
    "unknown encoding": (lambda: header_only(320, 240, 960, "klingon9", 960 * 240), "klingon9"),
    "odd yuv": (lambda: header_only(321, 240, 642, "uyvy", 642 * 240), "width 321 is odd"),
}


@pytest.mark.parametrize("name", BAD)
def test_unusable_image_is_rejected_and_counted(tracker, name):
    make, told = BAD[name]
    log_before = len(tracker.process.log())
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        camera.next()
        assert tracker.init(camera.truth).success
        camera.next()
        bad = make()
        bad.header.stamp = stamp_of(camera.number)

        def rejected() -> bool:
            camera.send(bad)
            camera.next()
            return statuses[-1].frames_rejected > 0

        wait_for(rejected, "a count of the rejected image")
        # the warning is throttled: it may stem from an earlier image, but it comes
        wait_for(
            lambda: camera.send(bad) or told in tracker.process.log()[log_before:], f"the warning to tell {told!r}"
        )
        (detection,) = camera.next().detections
        assert iou(box_of(detection), camera.truth) > 0.6


def test_big_image_is_tracked_in_and_the_limit_can_be_lowered(tracker):
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        frame = np.zeros((2160, 3840, 3), np.uint8)
        scene = camera.scene.frame(0)
        frame[1000:1240, 2000:2320] = scene
        x, y, w, h = camera.scene.box(0)
        message = image_message(frame, "bgr8", stamp_of(0))
        camera.send_until_tracked(message)
        assert tracker.init((x + 2000, y + 1000, w, h)).success
        message.header.stamp = stamp_of(1)
        (detection,) = camera.send_until_tracked(message).detections
        assert iou(box_of(detection), (x + 2000, y + 1000, w, h)) > 0.6
        tracker.reset()
        assert tracker.set_parameter("max_image_pixels", 100_000).successful

        def rejected() -> bool:
            camera.send(message)
            camera.next()
            return statuses[-1].frames_rejected > 0

        wait_for(rejected, "a count of the rejected image")


@pytest.mark.slow
def test_a_damaged_jpeg_is_rejected_and_the_target_stays(start):
    tracker = start(namespace="jpegs", parameters={"image_transport": "compressed"})
    tracker.activate()
    jpegs = tracker.camera(topic="image_raw/compressed", message_type=CompressedImage)
    with jpegs as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:

        def jpeg(damaged: bool = False) -> CompressedImage:
            data = bytearray(cv2.imencode(".jpg", camera.scene.frame(camera.number))[1].tobytes())
            if damaged:
                data[len(data) // 2 : len(data) // 2 + 300] = bytes(300)  # its end marker is still there
            return compressed_message(bytes(data), "jpeg", stamp_of(camera.number))

        camera.send_until_tracked(jpeg())
        assert tracker.init(camera.truth).success
        camera.send_until_tracked(jpeg())
        bad = jpeg(damaged=True)

        def rejected() -> bool:
            camera.send(bad)
            time.sleep(0.1)
            return bool(statuses) and statuses[-1].frames_rejected > 0

        wait_for(rejected, "a count of the rejected image")
        assert key(bad.header.stamp) not in {key(one.header.stamp) for one in camera.detections}
        (detection,) = camera.send_until_tracked(jpeg()).detections
        assert iou(box_of(detection), camera.truth) > 0.6
    assert "JPEG" in tracker.process.log()
