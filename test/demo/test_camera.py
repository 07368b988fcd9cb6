# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The camera node as its subscribers see it: a real process, its topics, its service and its exit code."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from demo_harness import Processes, Viewer, grey, stamp_of

from snscf_core.scenes import Scene
from snscf_ros.demo.sources import RepeatedSource, SceneSource, open_source


def level(image) -> int:
    """Which grey an Image shows."""
    return int(np.median(np.frombuffer(image.data, np.uint8)))


@pytest.mark.slow
def test_sequence_waits_at_its_first_frame_and_plays_once_in_order_with_its_truth(
    processes: Processes, viewer: Viewer, greys: Path
) -> None:
    camera = processes.camera(source="sequence", path=greys, rate=10.0, frame_id="front")
    viewer.wait(lambda: len(viewer.images) >= 5, camera)
    assert not viewer.started and {level(image) for image in viewer.images} == {10}

    assert viewer.play(camera).success
    viewer.wait(lambda: viewer.finished, camera)
    again = viewer.play(camera)
    assert not again.success and again.message == "already playing"
    viewer.wait(lambda: stamp_of(viewer.images[-1].header) == stamp_of(viewer.finished[0]), camera)
    assert [level(image) for image in viewer.played()] == list(range(10, 250, 20))

    stamps = [stamp_of(image.header) for image in viewer.images]
    assert stamps == sorted(set(stamps))
    # of the first images the truths may have come before their reader was known
    played = {stamp_of(image.header) for image in viewer.played()}
    viewer.wait(lambda: played <= set(viewer.truths), camera)
    for number, image in enumerate(viewer.played()):
        assert (image.encoding, image.width, image.height, image.step) == ("bgr8", 64, 48, 192)
        assert image.header.frame_id == "front"
        truth = viewer.truths[stamp_of(image.header)]
        assert truth.header == image.header
        if number == 4:
            assert truth.detections == []
        else:
            (detection,) = truth.detections
            box = detection.bbox
            assert detection.header == image.header
            assert (box.center.position.x, box.center.position.y) == (number + 0.5 + 5, 7 + 6.125)
            assert (box.size_x, box.size_y) == (10, 12.25)

    played = {stamp_of(image.header): level(image) for image in viewer.played()}
    viewer.wait(lambda: stamp_of(viewer.jpegs[-1].header) == stamps[-1], camera)
    jpegs = {stamp_of(jpeg.header): jpeg for jpeg in viewer.jpegs}
    for stamp, shown in played.items():
        frame = cv2.imdecode(np.frombuffer(jpegs[stamp].data, np.uint8), cv2.IMREAD_COLOR)
        assert frame.shape == (48, 64, 3) and abs(int(np.median(frame)) - shown) <= 2

    camera.send_signal(signal.SIGINT)
    _, errors = camera.communicate(timeout=20)
    assert camera.returncode == 0, errors
    assert "played 12 frames of Greys" in errors and "Traceback" not in errors


@pytest.mark.slow
def test_generated_scene_is_published_as_it_is_made(processes: Processes, viewer: Viewer) -> None:
    camera = processes.camera(rate=40.0, frames=6, seed=4)
    viewer.wait(lambda: viewer.images, camera)
    viewer.play(camera)
    viewer.wait(lambda: viewer.finished, camera)
    viewer.wait(lambda: len(viewer.played()) == 6, camera)
    scene = Scene(seed=4)
    for shot, image in zip(scene, viewer.played(), strict=False):
        assert np.array_equal(np.frombuffer(image.data, np.uint8).reshape(480, 640, 3), shot.image)
        viewer.wait(lambda: stamp_of(image.header) in viewer.truths, camera)  # noqa: B023 - called at once
        box = viewer.truths[stamp_of(image.header)].detections[0].bbox
        x, y, w, h = shot.box
        assert (box.center.position.x, box.center.position.y) == pytest.approx((x + w / 2, y + h / 2))
        assert (box.size_x, box.size_y) == pytest.approx((w, h))


@pytest.mark.slow
def test_a_burst_of_signals_ends_the_camera(processes: Processes, viewer: Viewer) -> None:
    camera = processes.camera()
    viewer.wait(lambda: viewer.images, camera)
    for _ in range(30):
        camera.send_signal(signal.SIGTERM)
    _, errors = camera.communicate(timeout=30)
    assert camera.returncode == 0 and "Traceback" not in errors


@pytest.mark.slow
def test_video_is_played_without_truth(processes: Processes, viewer: Viewer, tmp_path: Path) -> None:
    writer = cv2.VideoWriter(str(tmp_path / "greys.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(8):
        writer.write(grey(20 + 25 * number))
    writer.release()
    camera = processes.camera(source="video", path="greys.avi", rate=30.0, autoplay="true")
    viewer.wait(lambda: viewer.finished and viewer.images, camera)
    viewer.wait(lambda: stamp_of(viewer.images[-1].header) == stamp_of(viewer.finished[0]), camera)
    # The first frames may have been played before the viewer was found.
    shown = [level(image) for image in viewer.played()]
    expected = [20 + 25 * number for number in range(8)]
    assert shown and np.allclose(shown, expected[-len(shown) :], atol=3)
    assert viewer.truths == {}


@pytest.mark.slow
def test_wrong_input_ends_with_a_sentence(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("this is no video")
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "1.jpg").write_bytes(b"\xff\xd8 no JPEG")
    cases = [
        ({"source": "sequence", "path": "nowhere"}, "sequence folder nowhere does not exist"),
        ({"source": "sequence", "path": "torn"}, "1.jpg can't be read as an image"),
        ({"source": "video", "path": "nowhere.mp4"}, "nowhere.mp4 does not exist"),
        ({"source": "video", "path": "text.mp4"}, "text.mp4 can't be opened as a video"),
        ({"source": "film"}, "must be one of scene, sequence, video, device"),
        ({"rate": -1.0}, "rate"),
    ]
    started = [(processes.camera(**arguments), said) for arguments, said in cases]
    for camera, said in started:
        _, errors = camera.communicate(timeout=60)
        assert camera.returncode == 1, errors
        assert said in errors and "Traceback" not in errors


@pytest.mark.slow
def test_an_image_that_cannot_be_read_ends_the_camera_when_its_turn_comes(
    processes: Processes, viewer: Viewer, greys: Path
) -> None:
    (greys / "img" / "0006.png").write_bytes(b"no image")
    camera = processes.camera(source="sequence", path=greys, rate=20.0)
    viewer.wait(lambda: viewer.images, camera)
    viewer.play(camera)
    _, errors = camera.communicate(timeout=60)
    assert camera.returncode == 1 and "0006.png can't be read as an image" in errors
    assert level(viewer.images[-1]) == 90
    assert not viewer.finished


class EndlessSource:
    """Stands for a device: gives a frame whenever it is let."""

    name, length, live, has_truth = "device", None, True, False

    def __init__(self) -> None:
        self.given = threading.Semaphore(0)
        self.count = 0

    def shots(self) -> Iterator:
        from snscf_ros.demo.sources import Shot

        while True:
            self.given.acquire()
            self.count += 1
            yield Shot(grey(self.count))


@pytest.mark.slow
def test_a_device_that_is_faster_than_the_rate_gives_its_newest_frame() -> None:
    from snscf_ros.demo.sources import ReadAhead

    source = EndlessSource()
    reader = ReadAhead(source)
    for _ in range(5):
        source.given.release()
    while source.count < 5:
        pass
    shot = reader.next()
    while shot.frame[0, 0, 0] < 5:
        shot = reader.next()
    source.given.release()
    assert reader.next().frame[0, 0, 0] == 6
    reader.close()
    source.given.release()


def test_a_looped_source_begins_again_and_a_scene_goes_back_first(greys: Path) -> None:
    scene = Scene(4)
    source = RepeatedSource(lambda: SceneSource(scene, back=True))
    shots = [shot.frame for shot in itertools.islice(source.shots(), 14)]
    order = [0, 1, 2, 3, 2, 1] * 2 + [0, 1]
    assert all(np.array_equal(shot, scene[number].image) for shot, number in zip(shots, order, strict=True))
    looped = open_source("sequence", str(greys), loop=True)
    levels = [int(shot.frame.mean()) for shot in itertools.islice(looped.shots(), 14)]
    assert levels == [*range(10, 250, 20), 10, 30]
