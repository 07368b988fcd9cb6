# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""From images to detections, over real middleware: the right pixels, stamps and names, whatever the stream does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ros_harness import Scene, box_of, compressed_message, image_message, iou, key, stamp_of, wait_for
from sensor_msgs.msg import CompressedImage, Image
from snscf_msgs.msg import TrackStatus, TrackStatusArray
from vision_msgs.msg import Detection2D


def follow(camera, frames: int, least: float = 0.6, **how) -> None:
    """The next frames' only detection must lie on the patch."""
    for _ in range(frames):
        message = camera.next(**how)
        assert len(message.detections) == 1, f"frame {camera.number - 1}: {len(message.detections)} detections"
        overlap = iou(box_of(message.detections[0]), camera.truth)
        assert overlap > least, f"frame {camera.number - 1}: IoU {overlap:.2f}"


def begin(tracker, camera, **arguments):
    """Show one frame and start following the patch in it; returns the answer."""
    camera.next()
    answer = tracker.init(camera.truth, **arguments)
    assert answer.success, answer.message
    return answer


def test_a_target_is_followed_on_the_right_pixels(tracker):
    with tracker.camera() as camera:
        assert camera.next().detections == []
        assert begin(tracker, camera).target_id == "target_1"
        follow(camera, 15)


@pytest.mark.slow
def test_a_smaller_search_crop_follows_too(spare):
    tracker = spare
    assert tracker.set_parameter("search_size", 191).successful
    tracker.activate()
    with tracker.camera() as camera:
        begin(tracker, camera)
        follow(camera, 8)


def test_detections_carry_the_image_header_id_class_and_score(tracker):
    with tracker.camera() as camera:
        begin(tracker, camera, target_id="cup")
        image = image_message(camera.scene.frame(camera.number), "bgr8", stamp_of(camera.number))
        message = camera.send_until_tracked(image)
        assert message.header == image.header
        (detection,) = message.detections
        assert detection.header == image.header
        assert detection.id == "cup"
        (result,) = detection.results
        assert result.hypothesis.class_id == "target"
        assert 0.0 < result.hypothesis.score <= 1.0
        assert detection.bbox.center.theta == 0.0


def test_primary_target_has_a_topic_of_its_own_and_hands_over_when_removed(tracker):
    scene = Scene()
    with tracker.camera(scene) as camera, tracker.peer.received(Detection2D, f"{tracker.name}/detection") as single:
        begin(tracker, camera, target_id="first")
        assert tracker.init((5, 5, 40, 40), "second").success
        message = camera.next()
        assert [detection.id for detection in message.detections] == ["first", "second"]
        wait_for(lambda: single, "a message on ~/detection")
        assert {detection.id for detection in single} == {"first"}
        assert tracker.remove("first").success
        single.clear()
        camera.next()
        wait_for(lambda: single, "a message on ~/detection")
        assert single[-1].id == "second"


def test_status_tells_state_and_counts(tracker):
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        begin(tracker, camera)
        follow(camera, 5)
        wanted = key(stamp_of(camera.number - 1))
        status = wait_for(lambda: next((s for s in statuses if key(s.header.stamp) == wanted), None), "status")
        (target,) = status.targets
        assert target.target_id == "target_1"
        assert target.primary
        assert target.state in (TrackStatus.TRACKED, TrackStatus.UNCERTAIN)
        assert 0.0 < target.score <= 1.0
        assert target.peak_quality > 0.0
        assert iou(box_of(target), camera.truth) > 0.6
        assert status.latency > 0.0
        assert status.frames_processed <= status.frames_received
        assert status.frames_rejected == 0


@pytest.mark.slow
def test_frames_that_come_too_fast_are_dropped_and_counted(tracker):
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        camera.next()
        for number in range(8):
            assert tracker.init((5 + 20 * number, 10 + 10 * number, 40, 40)).success
        message = image_message(camera.scene.frame(1), "bgr8")

        def dropped() -> bool:
            camera.number += 1
            message.header.stamp = stamp_of(camera.number)
            camera.send(message)
            return any(status.frames_dropped for status in statuses)

        wait_for(dropped, "a dropped frame")
        # the newest frame is never the one that is dropped
        camera.number += 1
        camera.next()
        wanted = key(stamp_of(camera.number - 1))

        def counted() -> bool:
            # an image that was sent again because its detections took long may still wait its turn
            newest = statuses[-1]
            accounted = newest.frames_received == newest.frames_processed + newest.frames_dropped
            return key(newest.header.stamp) == wanted and accounted

        wait_for(counted, "every image to be tracked in or dropped")
        stamps = [key(s.header.stamp) for s in statuses]
        assert stamps == sorted(stamps)


def test_reinitialisation_moves_a_target_and_keeps_its_id(tracker):
    with tracker.camera() as camera:
        assert camera.next().detections == []
        assert tracker.init((5, 5, 40, 40), "it").success
        (detection,) = camera.next().detections
        assert iou(box_of(detection), camera.truth) < 0.3
        answer = tracker.init(camera.truth, "it")
        assert answer.success
        assert answer.target_id == "it"
        follow(camera, 5)


def test_removed_target_is_gone(tracker):
    with tracker.camera() as camera:
        begin(tracker, camera)
        follow(camera, 1)
        assert tracker.remove().success
        assert camera.next().detections == []


def test_names_are_not_given_twice(tracker):
    with tracker.camera() as camera:
        assert begin(tracker, camera).target_id == "target_1"
        assert tracker.remove("target_1").success
        assert tracker.init(camera.truth).target_id == "target_2"


def test_reset_forgets_targets_and_counts(tracker):
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        begin(tracker, camera)
        follow(camera, 2)
        assert tracker.reset().success
        assert camera.next().detections == []
        wanted = key(stamp_of(camera.number - 1))
        status = wait_for(lambda: next((s for s in statuses if key(s.header.stamp) == wanted), None), "status")
        assert status.frames_received == status.frames_processed + status.frames_dropped <= 2
        assert begin(tracker, camera).target_id == "target_1"


def test_disabled_tracker_is_silent_and_keeps_its_targets(tracker):
    with tracker.camera() as camera:
        begin(tracker, camera)
        follow(camera, 2)
        assert tracker.enable(False).success
        seen = len(camera.detections)
        newest = camera.scene.frame(camera.number)
        for _ in range(5):
            camera.send(image_message(newest, "bgr8", stamp_of(camera.number)))
        # the images went by: init_target answers for the newest stamp, so it has arrived
        wait_for(lambda: tracker.init((5, 5, 40, 40), "x", stamp=stamp_of(camera.number)).success, "image arrived")
        assert len(camera.detections) == seen
        assert tracker.remove("x").success
        assert tracker.enable(True).success
        follow(camera, 3)


@pytest.mark.parametrize("reliable", [True, False], ids=["reliable", "best effort"])
def test_both_kinds_of_publishers_are_received(tracker, reliable):
    with tracker.camera(reliable=reliable) as camera:
        begin(tracker, camera)
        follow(camera, 2)


def test_stream_that_stops_and_returns_is_tracked_again(tracker):
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus

    assert tracker.set_parameter("camera_timeout", 0.2).successful
    assert tracker.set_parameter("diagnostics_rate", 20.0).successful
    with tracker.peer.received(DiagnosticArray, "/diagnostics") as diagnostics:

        def camera_levels() -> list[bytes]:
            return (
                [s.level for s in diagnostics[-1].status if s.name.startswith("/tracker: camera")]
                if diagnostics
                else []
            )

        with tracker.camera() as camera:
            begin(tracker, camera)
            follow(camera, 2)
            number = camera.number
        wait_for(lambda: camera_levels() == [DiagnosticStatus.WARN], "a warning of silence")
        # another publisher, as after a restart of the driver
        with tracker.camera(first_number=number) as camera:
            follow(camera, 3)
            wait_for(
                lambda: (
                    camera.send(image_message(camera.scene.frame(0), "bgr8"))
                    or camera_levels() == [DiagnosticStatus.OK]
                ),
                "no warning any more",
            )


def test_size_may_change_midway(tracker):
    small, large = Scene(320, 240, 48), Scene(640, 480, 96)
    with tracker.camera(small) as camera:
        begin(tracker, camera)
        follow(camera, 2)
        doubled = cv2.resize(small.frame(camera.number), (large.width, large.height), interpolation=cv2.INTER_NEAREST)
        message = camera.send_until_tracked(image_message(doubled, "bgr8", stamp_of(camera.number)))
        truth = tuple(2 * side for side in camera.truth)
        assert iou(box_of(message.detections[0]), truth) > 0.6
        follow(camera, 3)


def test_encoding_may_change_midway(tracker):
    with tracker.camera() as camera:
        begin(tracker, camera)
        follow(camera, 2)
        follow(camera, 2, encoding="rgb8", convert=lambda bgr: bgr[:, :, ::-1])
        follow(camera, 2, encoding="rgba8", convert=lambda bgr: cv2.cvtColor(bgr, cv2.COLOR_BGR2RGBA))
        follow(camera, 2, encoding="mono8", convert=lambda bgr: cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
        follow(
            camera,
            2,
            encoding="mono16",
            convert=lambda bgr: cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY).astype(np.uint16) * 257,
        )
        follow(camera, 2)


def test_black_frames_do_no_harm(tracker):
    with tracker.camera() as camera:
        begin(tracker, camera)
        follow(camera, 2)
        for _ in range(3):
            camera.next(convert=np.zeros_like)
        follow(camera, 2)


@pytest.mark.slow
def test_compressed_transport(start):
    tracker = start(namespace="jpeg", parameters={"image_transport": "compressed"})
    tracker.activate()
    with tracker.camera(topic="image_raw/compressed", message_type=CompressedImage) as camera:

        def send(extension: str, format_text: str):
            encoded = cv2.imencode(extension, camera.scene.frame(camera.number))[1].tobytes()
            return camera.send_until_tracked(compressed_message(encoded, format_text, stamp_of(camera.number)))

        send(".jpg", "jpeg")
        assert tracker.init(camera.truth).success
        for extension, text in ((".jpg", "bgr8; jpeg compressed bgr8"), (".png", "png"), (".jpg", "jpeg")):
            message = send(extension, text)
            assert iou(box_of(message.detections[0]), camera.truth) > 0.6
        # what cannot be decoded is told, and the next frame is tracked
        whole = cv2.imencode(".jpg", camera.scene.frame(camera.number))[1].tobytes()
        log = tracker.process.log
        for data, text, told in (
            (whole[: len(whole) // 2], "jpeg", "cut off"),
            (b"", "jpeg", "0 bytes"),
            (b"GIF89a" + whole, "gif", "neither JPEG nor PNG"),
            (whole, "16UC1; compressedDepth png", "compressed depth"),
        ):
            wait_for(lambda d=data, f=text, t=told: camera.send(compressed_message(d, f)) or t in log(), told)
        message = send(".jpg", "jpeg")
        assert iou(box_of(message.detections[0]), camera.truth) > 0.6


@pytest.mark.slow
def test_two_nodes_in_two_namespaces(tracker, start):
    other = start(namespace="robot2")
    other.activate()
    with tracker.camera() as here, other.camera(Scene(seed=11)) as there:
        begin(tracker, here)
        begin(other, there, target_id="theirs")
        follow(here, 2)
        follow(there, 2)
        assert {d.id for message in here.detections for d in message.detections} == {"target_1"}
        assert {d.id for message in there.detections for d in message.detections} == {"theirs"}


@pytest.mark.slow
def test_several_cameras(start):
    tracker = start(namespace="rig", parameters={"cameras": ["front", "down"]})
    tracker.activate()
    with (
        tracker.camera(topic="front/image_raw") as front,
        tracker.camera(Scene(400, 300, seed=11), topic="down/image_raw") as down,
        tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
    ):
        down.number = 100
        front.next()
        refused = tracker.init(front.truth, camera="down")
        assert not refused.success
        assert "down" in refused.message
        down.next()
        assert tracker.init(front.truth, "a").success
        assert tracker.init(down.truth, "b", camera="down").success
        (detection,) = front.next().detections
        assert detection.id == "a"
        (detection,) = down.next().detections
        assert detection.id == "b"
        assert iou(box_of(detection), down.truth) > 0.6
        wait_for(lambda: {s.camera for s in statuses} == {"front", "down"}, "status of both cameras")
        unknown = tracker.init(front.truth, camera="rear")
        assert not unknown.success
        assert "'rear'" in unknown.message
        assert "front, down" in unknown.message
        # each has pictures of its own
        with tracker.peer.received(Image, f"{tracker.name}/down/overlay", depth=1) as pictures:
            down.next()
            wait_for(lambda: down.next() and pictures, "an overlay")
            front.next()
            down.next()
            assert {(p.height, p.width) for p in pictures} == {(300, 400)}


@pytest.mark.slow
def test_a_camera_may_be_named_absolutely(start):
    tracker = start(namespace="rig", parameters={"cameras": ["/elsewhere/front"]})
    tracker.activate()
    with tracker.camera(topic="/elsewhere/front/image_raw") as camera:
        with tracker.peer.received(Image, f"{tracker.name}/elsewhere/front/overlay", depth=1) as pictures:
            wait_for(lambda: camera.next() and pictures, "an overlay")


@pytest.mark.slow
def test_lost_targets_are_published_only_on_request(tracker):
    """Darkness: the target is lost, and stays in the status."""
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        begin(tracker, camera)
        follow(camera, 3)

        def lost() -> bool:
            camera.next(convert=np.zeros_like)
            return any(target.state == TrackStatus.LOST for target in statuses[-1].targets)

        wait_for(lost, "the target to be lost")
        assert tracker.set_parameter("publish_lost", True).successful
        assert len(camera.next(convert=np.zeros_like).detections) == 1
        assert tracker.set_parameter("publish_lost", False).successful
        wait_for(lambda: camera.next(convert=np.zeros_like).detections == [], "no detection of a lost target")
