# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures for those who watch, diagnostics for those who care, and images that really arrive."""

from __future__ import annotations

import re
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_harness import Scene, box_of, image_message, iou, key, stamp_of, wait_for
from sensor_msgs.msg import CompressedImage, Image

from snscf_ros import middleware


def by_part(array: DiagnosticArray) -> dict[str, DiagnosticStatus]:
    """What the node /tracker says of each of its parts; empty where another node reports."""
    own = "/tracker: "
    return {s.name.removeprefix(own): s for s in array.status if s.name.startswith(own)}


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def test_overlay_is_drawn_only_when_somebody_watches(tracker):
    assert tracker.set_parameter("diagnostics_rate", 20.0).successful
    with tracker.camera() as camera, tracker.peer.received(DiagnosticArray, "/diagnostics") as diagnostics:
        # without targets and watchers nothing is decoded
        camera.next()
        diagnostics.clear()
        for _ in range(5):
            camera.next()
        wait_for(lambda: sum("tracker" in by_part(array) for array in diagnostics) > 2, "diagnostics")
        told = [values(parts["tracker"]) for parts in map(by_part, list(diagnostics)) if "tracker" in parts]
        assert any("publish count" in stages for stages in told)
        assert not any("decode count" in stages for stages in told)
        with tracker.peer.received(Image, f"{tracker.name}/overlay", depth=1) as pictures:
            wait_for(lambda: camera.next() and pictures, "an overlay")
        assert pictures[-1].header.frame_id == "camera"


def test_annotations_are_the_box_in_the_image_of_their_stamp(tracker):
    kinds = pytest.importorskip("foxglove_msgs.msg")
    with tracker.camera() as camera:
        camera.next()
        assert tracker.init(camera.truth, "cup").success
        with tracker.peer.received(kinds.ImageAnnotations, f"{tracker.name}/annotations") as messages:
            wait_for(lambda: camera.next() and messages, "annotations")
            (detection,) = camera.next().detections
            stamp = detection.header.stamp
            wait_for(lambda: key(messages[-1].timestamp) == key(stamp), "the annotations of the newest image")
            ((outline,), (text,)) = messages[-1].points, messages[-1].texts
    assert key(outline.timestamp) == key(text.timestamp) == key(stamp)
    assert outline.type == kinds.PointsAnnotation.LINE_LOOP
    x, y, w, h = box_of(detection)
    corners = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    assert [(point.x, point.y) for point in outline.points] == [pytest.approx(corner) for corner in corners]
    assert text.text.startswith("* cup  ") and text.text.endswith("  tracked")


def test_overlay_shows_the_image_and_the_box(tracker):
    with tracker.camera(Scene(640, 480, 96)) as camera:
        camera.next()
        assert tracker.init(camera.truth, "cup").success
        with tracker.peer.received(Image, f"{tracker.name}/overlay", depth=1) as pictures:
            wait_for(lambda: camera.next() and pictures, "an overlay")
            wanted = key(stamp_of(camera.number))
            camera.next()
            wait_for(lambda: key(pictures[-1].header.stamp) == wanted, "the overlay of the newest frame")
            picture = pictures[-1]
        assert (picture.width, picture.height, picture.encoding) == (640, 480, "bgr8")
        pixels = np.frombuffer(picture.data, np.uint8).reshape(480, 640, 3).astype(int)
        changed = np.abs(pixels - camera.scene.frame(camera.number - 1)).max(axis=2) > 0
        x, y, w, h = map(int, camera.truth)
        # the outline of the box and its label, the caption at the bottom, and nothing else
        assert changed[y - 8 : y + h + 8, x - 8 : x + w + 8].any()
        inside = changed[y + 12 : y + h - 12, x + 12 : x + w - 12]
        assert not inside.any()
        assert changed[-25:, :100].any()
        assert changed.mean() < 0.1


def test_compressed_overlay_is_a_jpeg_of_the_set_quality(tracker):
    with tracker.camera() as camera:
        camera.next()
        sizes = []
        for quality in (10, 95):
            assert tracker.set_parameter("overlay_jpeg_quality", quality).successful
            with tracker.peer.received(CompressedImage, f"{tracker.name}/overlay/compressed", depth=1) as pictures:
                wait_for(lambda: camera.next() and pictures, "a compressed overlay")
            data = np.frombuffer(pictures[-1].data, np.uint8)
            assert "jpeg" in pictures[-1].format
            assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (240, 320, 3)
            sizes.append(len(data))
        assert sizes[0] < sizes[1]


def test_diagnostics_tell_what_runs_and_how_it_goes(tracker):
    # slow enough for a whole frame in between, on a busy machine too
    assert tracker.set_parameter("diagnostics_rate", 2.0).successful
    stages = {"decode", "track", "publish"}
    with tracker.camera() as camera, tracker.peer.received(DiagnosticArray, "/diagnostics") as diagnostics:
        camera.next()
        assert tracker.init(camera.truth, "cup").success

        def told() -> dict[str, DiagnosticStatus] | None:
            camera.next()
            newest = by_part(diagnostics[-1]) if diagnostics else {}
            tracker_told, camera_told = (values(newest.get(part, DiagnosticStatus())) for part in ("tracker", "camera"))
            # the first reports may be of images from before the counts were reset, or from before there was a target
            counted = int(camera_told.get("processed", 0)) > 0 and "target cup" in newest
            return newest if counted and {f"{stage} count" for stage in stages} <= tracker_told.keys() else None

        parts = wait_for(told, "diagnostics of a tracked frame")
        tracker_values = values(parts["tracker"])
        assert tracker_values["model"] == "snscf_nano"
        assert {"mode", "device", "engine"} <= set(tracker_values)
        for stage in stages:
            assert 0 <= float(tracker_values[f"{stage} mean (ms)"]) <= float(tracker_values[f"{stage} max (ms)"])
        counts = values(parts["camera"])
        assert int(counts["received"]) >= int(counts["processed"])
        assert (counts["dropped"], counts["rejected"]) == ("0", "0")
        assert parts["target cup"].message in ("tracked", "uncertain", "lost", "no frame tracked yet")
        assert parts["tracker"].level == DiagnosticStatus.OK


def test_without_time_learning_waits_and_the_diagnostics_count_it(tracker):
    assert tracker.set_parameter("diagnostics_rate", 10.0).successful
    with tracker.camera() as camera, tracker.peer.received(DiagnosticArray, "/diagnostics") as diagnostics:

        def deferred() -> int | None:
            told = values(by_part(diagnostics[-1]).get("tracker", DiagnosticStatus())) if diagnostics else {}
            return int(told["deferred lessons"]) if "deferred lessons" in told else None

        camera.next()
        assert tracker.init(camera.truth, "cup").success
        wait_for(lambda: camera.next() and diagnostics, "diagnostics")
        assert deferred() is None, "there is no limit"
        assert tracker.set_parameter("max_latency", 1e-6).successful
        wait_for(lambda: camera.next() and (deferred() or 0) > 2, "lessons that wait")
        assert iou(box_of(camera.next().detections[0]), camera.truth) > 0.5


def test_processes_get_the_shared_memory_that_images_need(tracker):
    if not middleware.shared_memory_suffices():
        pytest.skip("/dev/shm has no room for the profile")
    maps = Path(f"/proc/{tracker.process.process.pid}/maps").read_text(encoding="ascii")
    segments = re.findall(r"^(\w+)-(\w+) .*/dev/shm/fast\w+$", maps, re.MULTILINE)
    sizes = [int(end, 16) - int(start, 16) for start, end in segments]
    assert max(sizes) >= 64 * 1024 * 1024


def test_big_best_effort_images_arrive(tracker):
    """With the middleware's own settings five of six are lost."""
    if not middleware.shared_memory_suffices():
        pytest.skip("/dev/shm has no room for the profile")
    with tracker.camera(reliable=False) as camera:
        camera.next()
        message = image_message(np.zeros((1080, 1920, 3), np.uint8), "bgr8")
        arrived = 0
        for number in range(100, 110):
            message.header.stamp = stamp_of(number)
            camera.send(message)
            end = time.monotonic() + 3.0
            while time.monotonic() < end and key(camera.detections[-1].header.stamp) != key(stamp_of(number)):
                time.sleep(0.005)
            arrived += key(camera.detections[-1].header.stamp) == key(stamp_of(number))
        assert arrived >= 8
