# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What fails is told, and nothing spins or stays broken."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.msg import ParameterValue
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from ros_harness import box_of, bringup, image_message, iou, stamp_of, wait_for
from snscf_msgs.msg import TrackStatusArray
from snscf_msgs.srv import SetPrimary


def silence_since(last, statuses):
    """The first status that tells of silence after the image of `last`; on a busy machine one image may come so late
    that there is silence before it too."""
    told = (status for status in statuses if status.camera_silent and status.header.stamp == last.header.stamp)
    return next(told, None)


@pytest.mark.slow
def test_status_says_that_a_camera_is_silent_until_it_returns(tracker):
    assert tracker.set_parameter("camera_timeout", 0.5).successful
    with tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        with tracker.camera() as camera:
            camera.next()
            assert tracker.init(camera.truth, "it").success
            last = camera.next()
        silent = wait_for(lambda: silence_since(last, statuses), "news of silence")
        assert silent.header == last.header
        assert [target.target_id for target in silent.targets] == ["it"]
        # whoever comes late hears it too
        statuses.clear()
        wait_for(lambda: [s for s in statuses if s.camera_silent], "more news of silence")
        with tracker.camera(first_number=2) as camera:
            statuses.clear()
            wait_for(lambda: camera.next() and [s for s in statuses if not s.camera_silent], "a status of an image")
    log = tracker.process.log()
    assert "no image from the camera for" in log
    assert "images from the camera arrive again" in log


def test_camera_whose_images_cannot_be_used_is_as_good_as_silent(tracker):
    assert tracker.set_parameters({"camera_timeout": 0.5, "diagnostics_rate": 20.0})[0].successful
    status, diagnostics = f"{tracker.name}/status", "/diagnostics"
    with (
        tracker.camera() as camera,
        tracker.peer.received(TrackStatusArray, status) as statuses,
        tracker.peer.received(DiagnosticArray, diagnostics) as arrays,
    ):
        camera.next()
        assert tracker.init(camera.truth, "it").success
        last = camera.next()

        def sent() -> bool:
            camera.send(image_message(camera.scene.frame(2), "rgba_of_tomorrow", stamp_of(camera.number)))
            return silence_since(last, statuses) is not None

        wait_for(sent, "news of silence")
        silent = silence_since(last, statuses)
        assert silent.header == last.header and silent.frames_rejected > 0
        assert [target.target_id for target in silent.targets] == ["it"]

        def told() -> bool:
            sent()
            ours = [s for array in arrays[-1:] for s in array.status if s.name == f"{tracker.name}: camera"]
            return any(s.level == DiagnosticStatus.WARN and "none could be used for" in s.message for s in ours)

        wait_for(told, "diagnostics of it")
        statuses.clear()
        camera.next()
        wait_for(lambda: "images from the camera arrive again" in tracker.process.log(), "news of its return")
    assert "no image from the camera could be used for" in tracker.process.log()


def test_nothing_is_published_while_disabled(tracker):
    assert tracker.set_parameter("camera_timeout", 0.2).successful
    with tracker.camera() as camera:
        camera.next()
        assert tracker.enable(False).success
        with tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
            time.sleep(1.0)
            assert statuses == []
            assert tracker.enable(True).success
            wait_for(lambda: [s for s in statuses if s.camera_silent], "news of silence")


def test_parameters_of_a_type_that_does_not_exist_are_refused(tracker):
    def parameter(name: str, kind: int, **values) -> ParameterMessage:
        return ParameterMessage(name=name, value=ParameterValue(type=kind, **values))

    parameters = [
        parameter("class_id", 10, string_value="cup"),
        parameter("camera_timeout", 3, double_value=7.0),
        parameter("class_id", 255),
    ]
    for one in (SetParameters, SetParametersAtomically):
        name = f"{tracker.name}/set_parameters" + ("_atomically" if one is SetParametersAtomically else "")
        answer = tracker.peer.call(one, name, one.Request(parameters=parameters))
        results = answer.results if one is SetParameters else [answer.result]
        assert [result.successful for result in results] == ([False, True, False] if one is SetParameters else [False])
        assert "10" in results[0].reason
    assert tracker.get_parameter("camera_timeout") == 7.0
    assert tracker.get_parameter("class_id") == "target"


@pytest.mark.slow
def test_activation_that_fails_leaves_nothing_behind(start):
    # the middleware has one type for a topic in a process
    tracker = start(namespace="faulty", remappings={"camera_info": "/faulty/image_raw"})
    tracker.transition("configure")
    for _ in range(2):
        with pytest.raises(RuntimeError):
            tracker.transition("activate")
        assert tracker.state == "inactive"
        wait_for(lambda: tracker.peer.node.count_subscribers("/faulty/image_raw") == 0, "the subscription to be gone")
    assert "activate failed" in tracker.process.log()


def test_primary_target_can_be_chosen(tracker):
    def choose(name: str):
        return tracker.peer.call(SetPrimary, f"{tracker.name}/set_primary", SetPrimary.Request(target_id=name))

    assert choose("").success
    with tracker.camera() as camera, tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        camera.next()
        assert tracker.init((5, 5, 40, 40), "old").success
        assert tracker.init(camera.truth, "new").success
        refused = choose("none")
        assert not refused.success
        assert "'none'" in refused.message and "old, new" in refused.message

        def primary() -> str:
            camera.next()
            return next((t.target_id for s in statuses[-1:] for t in s.targets if t.primary), "")

        assert choose("new").target_id == "new"
        wait_for(lambda: primary() == "new", "the chosen target to be primary")
        assert tracker.remove().message == "removed 'new'"
        wait_for(lambda: primary() == "old", "the oldest target to be primary")


def test_names_that_are_none_are_refused(tracker):
    with tracker.camera() as camera:
        camera.next()
        for name, told in (("x" * 129, "129 characters"), ("a\nb", "cannot be shown")):
            answer = tracker.init(camera.truth, name)
            assert not answer.success
            assert told in answer.message
        assert tracker.init(camera.truth, "ein Höcker, 128 Zeichen " + "y" * 104).success


@pytest.mark.slow
def test_tracker_that_hangs_is_told(failing):
    start, switch = failing
    tracker = start(namespace="hanging", parameters={"diagnostics_rate": 20.0, "camera_timeout": 0.5})
    tracker.activate()
    with (
        tracker.camera() as camera,
        tracker.peer.received(DiagnosticArray, "/diagnostics") as diagnostics,
        tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
    ):
        camera.next()
        assert tracker.init(camera.truth, "it").success
        switch.write_text("hang")

        def told() -> bool:
            camera.send(image_message(camera.scene.frame(camera.number), "bgr8", stamp_of(camera.number)))
            ours = [s for array in diagnostics[-1:] for s in array.status if s.name == f"{tracker.name}: tracker"]
            return any(s.level == DiagnosticStatus.ERROR and "busy with one image for" in s.message for s in ours)

        wait_for(told, "diagnostics of it")
        wait_for(lambda: [s for s in statuses if s.camera_silent], "a status of it")
        assert "the tracker has been busy with one image for" in tracker.process.log()
        # what can't be ended is left behind, and shares nothing with what comes next
        tracker.transition("deactivate")
        assert "left behind" in tracker.process.log()
        with pytest.raises(RuntimeError):
            tracker.transition("activate")
        assert "clean up and configure it anew" in tracker.process.log()
        tracker.transition("cleanup")
        switch.unlink()
        tracker.activate()
        wait_for(camera.publisher.get_subscription_count, "the subscription")
        camera.number += 1
        statuses.clear()
        assert camera.next().detections == []
        assert tracker.init(camera.truth).success
        assert len(camera.next().detections) == 1
    assert tracker.process.interrupt() == 0


@pytest.fixture
def failing(start, tmp_path, monkeypatch):
    """start(namespace) of a node whose network fails on every image while the file exists, or hangs if that says so."""
    switch = tmp_path / "fail"
    program = tmp_path / "failing_node.py"
    program.write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from snscf_core import Tracker\n"
        "real = Tracker.update\n"
        "def update(self, frame, targets, budget=None):\n"
        f"    switch = Path({str(switch)!r})\n"
        "    while switch.exists() and switch.read_text() == 'hang':\n"
        "        time.sleep(0.1)\n"
        "    if switch.exists():\n"
        "        raise RuntimeError('no such kernel')\n"
        "    return real(self, frame, targets)\n"
        "Tracker.update = update\n"
        "from snscf_ros.node import lifecycle\n"
        "lifecycle._LONGEST_FRAME = 2.0\n"
        "from snscf_ros.node.tracker_node import main\n"
        "main()\n",
        encoding="utf-8",
    )
    command = bringup.tracker_command

    def tracker_command(*arguments):
        made = command(*arguments)
        return [made[0], str(program), *made[made.index("--ros-args") :]]

    monkeypatch.setattr(bringup, "tracker_command", tracker_command)
    # a script has its own folder on the path, where `python -m` has the current one
    paths = [str(Path(bringup.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    return start, switch


@pytest.mark.slow
def test_tracker_that_fails_on_every_image_deactivates_the_node_which_can_be_activated_again(failing):
    start, switch = failing
    tracker = start(namespace="broken", parameters={"diagnostics_rate": 20.0})
    tracker.activate()
    with tracker.camera() as camera, tracker.peer.received(DiagnosticArray, "/diagnostics") as diagnostics:
        camera.next()
        assert tracker.init(camera.truth, "it").success
        camera.next()
        switch.touch()

        def given_up() -> bool:
            camera.send(image_message(camera.scene.frame(camera.number), "bgr8", stamp_of(camera.number)))
            return "deactivating" in tracker.process.log()

        wait_for(given_up, "the tracker to be given up")
        wait_for(lambda: tracker.state == "inactive", "the node to deactivate itself")

        def told() -> list[bytes]:
            ours = [s for array in diagnostics[-3:] for s in array.status if s.name == f"{tracker.name}: tracker"]
            return [s.level for s in ours if "no such kernel" in s.message]

        wait_for(lambda: told() == [DiagnosticStatus.ERROR] * 3, "diagnostics of an error")
        refused = tracker.init(camera.truth)
        assert not refused.success
        switch.unlink()
        tracker.transition("activate")
        wait_for(camera.publisher.get_subscription_count, "the subscription")
        (detection,) = camera.next().detections
        assert iou(box_of(detection), camera.truth) > 0.6
    log = tracker.process.log()
    assert "the tracker failed on 5 images in a row: no such kernel; deactivating" in log
    assert tracker.process.interrupt() == 0
