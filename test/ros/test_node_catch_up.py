# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A box drawn on an image that has passed is put where the target is now."""

from __future__ import annotations

import pytest
from builtin_interfaces.msg import Time
from ros_harness import Scene, box_of, image_message, iou, stamp_of


def test_target_is_started_where_the_operator_saw_it_and_found_where_it_is_now(tracker):
    # six pixels a frame: after twelve frames the patch has left the old box
    with tracker.camera(Scene(step=2)) as camera:
        for _ in range(14):
            camera.next()
        seen = 1
        assert iou(camera.scene.box(seen), camera.truth) == 0
        answer = tracker.init(camera.scene.box(seen), "it", stamp=stamp_of(seen))
        assert answer.success, answer.message
        assert answer.frames_caught_up > 0
        (detection,) = camera.next().detections
        assert iou(box_of(detection), camera.truth) > 0.6


def test_stamp_that_is_not_remembered_is_refused_with_what_is(tracker):
    with tracker.camera() as camera:
        for _ in range(4):
            camera.next()
        answer = tracker.init(camera.truth, "then", stamp=Time(sec=12, nanosec=345))
        assert not answer.success
        for told in ("12.000000345", "1000.000000007", "1000.100000006", "4 images"):
            assert told in answer.message
        # a shorter memory holds from the next image on
        assert tracker.set_parameter("buffer_bytes", 0).successful
        camera.next()
        answer = tracker.init(camera.truth, stamp=stamp_of(2))
        assert not answer.success
        assert "1 images" in answer.message
        assert tracker.init(camera.truth, stamp=stamp_of(4)).success


@pytest.mark.slow
def test_others_are_tracked_while_one_catches_up(tracker):
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth, "first").success
        for _ in range(8):
            camera.next()
        assert tracker.init(camera.scene.box(2), "second", stamp=stamp_of(2)).success
        first, second = camera.next().detections
        assert (first.id, second.id) == ("first", "second")
        for detection in (first, second):
            assert iou(box_of(detection), camera.truth) > 0.6


@pytest.mark.parametrize("what", ["keep", "drop"])
def test_bag_that_begins_anew(tracker, what):
    """The stamps go back: no image of before is remembered, and the targets are what the parameter says."""
    assert tracker.set_parameter("targets_on_time_jump", what).successful
    with tracker.camera(first_number=60) as camera:
        for _ in range(3):
            camera.next()
        assert tracker.init(camera.truth, "it").success
        old = stamp_of(camera.number - 1)
        # on the same pixels, as a target that is kept is looked for where it was
        pixels = camera.scene.frame(camera.number - 1)
        message = camera.send_until_tracked(image_message(pixels, "bgr8", stamp_of(0)))
        assert [detection.id for detection in message.detections] == (["it"] if what == "keep" else [])
        answer = tracker.init(camera.scene.box(62), "more", stamp=old)
        assert not answer.success
        assert "1000.000000007" in answer.message
    assert "went back by" in tracker.process.log()


@pytest.mark.slow
def test_time_of_the_system_may_jump_and_stand_still(start):
    """With simulated time that stands still, and then jumps, images are tracked by their own stamps."""
    from rosgraph_msgs.msg import Clock

    tracker = start(namespace="sim", parameters={"use_sim_time": True, "camera_timeout": 1.0})
    tracker.activate()
    clock = tracker.peer.node.create_publisher(Clock, "/clock", 10)
    try:
        with tracker.camera() as camera:
            camera.next()
            assert tracker.init(camera.truth, "it").success
            for seconds in (5000, 10, 2**31 - 1, 20):
                clock.publish(Clock(clock=Time(sec=seconds)))
                (detection,) = camera.next().detections
                assert iou(box_of(detection), camera.truth) > 0.6
            assert tracker.init(camera.scene.box(2), "then", stamp=stamp_of(2)).success
    finally:
        tracker.peer.node.destroy_publisher(clock)
    assert tracker.process.interrupt() == 0
    assert "Traceback" not in tracker.process.log()
