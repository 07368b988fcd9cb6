# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Requests that cannot be met are refused with the number or name that is wrong."""

from __future__ import annotations

import math

import pytest
from ros_harness import image_message, stamp_of, wait_for

WRONG_BOXES = {
    "negative width": ((10, 10, -48, 48), "-48"),
    "zero height": ((10, 10, 48, 0), "size_y is 0"),
    "not a number": ((math.nan, 10, 48, 48), "nan"),
    "infinite": ((10, 10, math.inf, 48), "inf"),
    "outside": ((1000, 10, 48, 48), "1000"),
}


@pytest.mark.parametrize("name", WRONG_BOXES)
def test_wrong_box_is_refused_with_its_number(tracker, name):
    box, told = WRONG_BOXES[name]
    with tracker.camera() as camera:
        camera.next()
        answer = tracker.init(box)
        assert not answer.success
        assert told in answer.message
        assert answer.target_id == ""
        assert camera.next().detections == []


def test_rotated_box_is_refused(tracker):
    with tracker.camera() as camera:
        camera.next()
        answer = tracker.init(camera.truth, theta=0.5)
        assert not answer.success
        assert "theta is 0.5" in answer.message


def test_nothing_starts_before_the_first_image(tracker):
    answer = tracker.init((10, 10, 40, 40))
    assert not answer.success
    assert "no image" in answer.message


def test_nothing_starts_on_images_that_cannot_be_used_and_the_reason_is_given(tracker):
    with tracker.camera() as camera:

        def refused() -> str:
            camera.send(image_message(camera.scene.frame(0), "rgba_of_tomorrow", stamp_of(0)))
            answer = tracker.init(camera.truth)
            assert not answer.success
            return answer.message if "could be used" in answer.message else ""

        message = wait_for(refused, "the refusal to tell of the images")
        assert "rgba_of_tomorrow" in message
        camera.next()
        assert tracker.init(camera.truth).success


def test_unknown_camera_and_target_are_refused_by_name(tracker):
    with tracker.camera() as camera:
        camera.next()
        answer = tracker.init(camera.truth, camera="rear")
        assert not answer.success
        assert "'rear'" in answer.message
        nothing = tracker.remove("cup")
        assert not nothing.success
        assert "nothing" in nothing.message
        assert tracker.init(camera.truth, "plate").success
        answer = tracker.remove("cup")
        assert not answer.success
        assert "'cup'" in answer.message
        assert "plate" in answer.message


def test_no_more_targets_than_max_targets(tracker):
    assert tracker.set_parameter("max_targets", 2).successful
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth, "a").success
        assert tracker.init(camera.truth, "b").success
        answer = tracker.init(camera.truth, "c")
        assert not answer.success
        assert "max_targets is 2" in answer.message
        # one of them may still be re-initialised
        assert tracker.init(camera.truth, "b").success


def test_refused_reinitialisation_leaves_the_target_alone(tracker):
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth, "a").success
        assert not tracker.init((10, 10, -1, 5), "a").success
        assert [detection.id for detection in camera.next().detections] == ["a"]
