# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Targets are started from the topics that other tools publish on, and each request is answered on ~/events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PointStamped
from ros_harness import Camera, Tracker, box_of, image_message, iou, key, stamp_of, wait_for
from sensor_msgs.msg import RegionOfInterest
from snscf_msgs.msg import TargetEvent, TrackStatus, TrackStatusArray
from snscf_msgs.srv import InitTarget
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

pytestmark = pytest.mark.slow


class Pointer:
    """Publishes requests as other tools do, and waits for the answers."""

    def __init__(self, tracker: Tracker, events: list[Any]) -> None:
        self.tracker, self.events = tracker, events
        self._publishers: dict[str, Any] = {}

    def send(self, name: str, message: Any) -> None:
        topic, node = f"{self.tracker.name}/{name}", self.tracker.peer.node
        if name not in self._publishers:
            self._publishers[name] = node.create_publisher(type(message), topic, 10)
            wait_for(self._publishers[name].get_subscription_count, f"subscription to {topic}")
        self._publishers[name].publish(message)

    def ask(self, name: str, message: Any) -> TargetEvent:
        before = len(self.events)
        self.send(name, message)
        wait_for(lambda: len(self.events) > before, f"answer to {name}")
        (event,) = self.events[before:]
        assert event.request == name
        return event

    def close(self) -> None:
        for publisher in self._publishers.values():
            self.tracker.peer.node.destroy_publisher(publisher)


@pytest.fixture(scope="module")
def pointed(peer, weights) -> Iterator[tuple[Tracker, Pointer]]:
    """A tracker with the topics turned on, not yet configured."""
    from ros_harness import TrackerProcess

    process = TrackerProcess(namespace="pointed", parameters={"init_topics": True})
    tracker = Tracker(peer, process)
    try:
        with peer.received(TargetEvent, f"{tracker.name}/events") as events:
            pointer = Pointer(tracker, events)
            yield tracker, pointer
            pointer.close()
        assert process.process.poll() is None, process.log()
        assert "Traceback" not in process.log()
    finally:
        process.close()


@contextmanager
def scene_of(pointed: tuple[Tracker, Pointer]) -> Iterator[tuple[Pointer, Camera]]:
    """The active tracker without targets, and a camera of which it has seen three images."""
    tracker, pointer = pointed
    if tracker.state != "active":
        tracker.activate()
    tracker.reset()
    with tracker.camera() as camera:
        for _ in range(3):
            camera.next()
        yield pointer, camera


def point(x: float, y: float, stamp: Time | None = None) -> PointStamped:
    message = PointStamped(point=Point(x=float(x), y=float(y)))
    if stamp is not None:
        message.header.stamp = stamp
    return message


def detection(box: Any, target_id: str, class_id: str, stamp: Time | None = None) -> Detection2D:
    message = Detection2D(id=target_id)
    message.bbox.center.position.x, message.bbox.center.position.y = box[0] + box[2] / 2, box[1] + box[3] / 2
    message.bbox.size_x, message.bbox.size_y = float(box[2]), float(box[3])
    for name, score in (("other", 0.2), (class_id, 0.7)):
        result = ObjectHypothesisWithPose()
        result.hypothesis.class_id, result.hypothesis.score = name, score
        message.results.append(result)
    if stamp is not None:
        message.header.stamp = stamp
    return message


def middle(box: Any) -> tuple[float, float]:
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def test_request_to_a_tracker_that_is_not_active_is_answered_with_what_to_do(pointed):
    tracker, pointer = pointed
    assert tracker.state == "unconfigured"
    event = pointer.ask("init_from_point", point(10, 10))
    assert not event.success
    assert "not active, but unconfigured" in event.message


def test_region_starts_the_clicked_target_in_the_newest_image(pointed):
    with scene_of(pointed) as (pointer, camera):
        x, y, w, h = map(int, camera.truth)
        region = RegionOfInterest(x_offset=x, y_offset=y, width=w, height=h)
        event = pointer.ask("init_from_roi", region)
        assert event.success, event.message
        assert (event.target_id, box_of(event)) == ("clicked", camera.truth)
        assert key(event.header.stamp) == key(stamp_of(camera.number - 1))
        (found,) = camera.next().detections
        assert iou(box_of(found), camera.truth) > 0.6
        # the same checks as init_target's, and the target is left alone
        event = pointer.ask("init_from_roi", RegionOfInterest(x_offset=5000, y_offset=y, width=w, height=h))
        assert not event.success
        assert "5000" in event.message
        event = pointer.ask("init_from_roi", RegionOfInterest())
        assert "must be positive, got 0" in event.message
        assert [found.id for found in camera.next().detections] == ["clicked"]


def test_point_starts_what_is_there_in_the_image_of_its_stamp_if_that_is_kept(pointed):
    with scene_of(pointed) as (pointer, camera):
        seen = camera.scene.box(0)
        event = pointer.ask("init_from_point", point(*middle(seen), stamp_of(0)))
        assert event.success, event.message
        assert key(event.header.stamp) == key(stamp_of(0))
        assert iou(box_of(event), seen) > 0.5
        (found,) = camera.next().detections
        assert iou(box_of(found), camera.truth) > 0.5
        # a click that bears the time at which it was made
        event = pointer.ask("init_from_point", point(*middle(camera.truth), Time(sec=5)))
        assert key(event.header.stamp) == key(stamp_of(camera.number - 1))
        assert iou(box_of(event), camera.truth) > 0.5
        event = pointer.ask("init_from_point", point(10, 5000))
        assert "y=5000 is outside the frame of 320 x 240" in event.message
        event = pointer.ask("init_from_point", point(np.nan, 10))
        assert "must be finite" in event.message
        x, y = middle(camera.truth)
        event = pointer.ask("init_from_pixel", Point(x=x, y=y))
        assert event.success, event.message
        assert iou(box_of(event), camera.truth) > 0.5
        # each point a target of its own
        assert pointed[0].set_parameter("click_target_id", "").successful
        assert pointer.ask("init_from_pixel", Point(x=x, y=y)).target_id == "target_1"
        assert pointed[0].set_parameter("click_target_id", "clicked").successful


def test_detection_gives_its_id_and_class_and_counts_in_the_image_of_its_stamp(pointed):
    with scene_of(pointed) as (pointer, camera):
        seen = camera.scene.box(0)
        event = pointer.ask("init_from_detection", detection(seen, "7", "cup", stamp_of(0)))
        assert event.success, event.message
        assert (event.target_id, box_of(event)) == ("7", seen)
        (found,) = camera.next().detections
        assert (found.id, found.results[0].hypothesis.class_id) == ("7", "cup")
        assert iou(box_of(found), camera.truth) > 0.6
        event = pointer.ask("init_from_detection", detection(seen, "7", "cup", Time(sec=5)))
        assert "no image of stamp 5.000000000 is kept" in event.message
        # an operator who draws it again does not change what it is; all who listen get to know
        assert pointed[0].init(camera.truth, "7").success
        wait_for(lambda: pointer.events[-1].request == "init_target", "event of init_target")
        (found,) = camera.next().detections
        assert found.results[0].hypothesis.class_id == "cup"


def test_chosen_detection_of_several_is_followed_and_found_again_under_its_id(pointed):
    tracker, _ = pointed
    with scene_of(pointed) as (pointer, camera):

        def array() -> Detection2DArray:
            # as some detectors have it: only the array has a stamp
            message = Detection2DArray(
                detections=[detection((5, 5, 20, 20), "3", "dog"), detection(camera.truth, "4", "cup")]
            )
            message.header.stamp = stamp_of(camera.number - 1)
            return message

        event = pointer.ask("init_from_detections", array())
        assert not event.success
        assert "2 detections, with the ids '3', '4'" in event.message
        assert tracker.set_parameter("detection_id", "4").successful
        event = pointer.ask("init_from_detections", array())
        assert (event.success, event.target_id) == (True, "4"), event.message
        (found,) = camera.next().detections
        assert (found.id, found.results[0].hypothesis.class_id) == ("4", "cup")
        # while it is tracked, the detector is not listened to
        count = len(pointer.events)
        pointer.send("init_from_detections", array())
        assert pointer.ask("init_from_roi", RegionOfInterest()).message
        assert len(pointer.events) == count + 1

        with tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:

            def lost() -> bool:
                blank = np.full((240, 320, 3), 90, np.uint8)
                camera.send_until_tracked(image_message(blank, "bgr8", stamp_of(camera.number)))
                return bool(statuses) and statuses[-1].targets[0].state == TrackStatus.LOST

            wait_for(lost, "the target to be lost")
        camera.next()
        event = pointer.ask("init_from_detections", array())
        assert (event.success, event.target_id) == (True, "4"), event.message
        (found,) = camera.next().detections
        assert (found.id, iou(box_of(found), camera.truth) > 0.6) == ("4", True)
        assert tracker.set_parameter("detection_id", "").successful


def test_topics_are_off_unless_turned_on(tracker):
    assert tracker.peer.node.count_subscribers(f"{tracker.name}/init_from_roi") == 0
    assert tracker.get_parameter("init_topics") is False


def test_the_service_starts_around_a_point_and_the_status_tells_the_size_of_the_image(tracker):
    status = f"{tracker.name}/status"
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, status) as statuses:
        camera.next()
        wait_for(lambda: statuses, "a status without targets")
        assert (statuses[-1].image_width, statuses[-1].image_height) == (320, 240)
        x, y = middle(camera.truth)
        request = InitTarget.Request(around_point=True)
        request.bbox.center.position.x, request.bbox.center.position.y = x, y
        answer = tracker.peer.call(InitTarget, f"{tracker.name}/init_target", request)
        assert answer.success, answer.message
        (found,) = camera.next().detections
        assert iou(box_of(found), camera.truth) > 0.5
        wait_for(lambda: statuses[-1].targets, "a status of the target")
        assert (statuses[-1].image_width, statuses[-1].image_height) == (320, 240)
        request.bbox.center.position.x = 1000.0
        answer = tracker.peer.call(InitTarget, f"{tracker.name}/init_target", request)
        assert not answer.success and "1000" in answer.message
