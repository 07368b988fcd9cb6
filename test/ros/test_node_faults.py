"""What fails is told, and nothing spins or stays broken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_harness import box_of, bringup, image_message, iou, stamp_of, wait_for
from snscf_msgs.msg import TrackStatusArray
from snscf_msgs.srv import SetPrimary


def test_status_says_that_a_camera_is_silent_until_it_returns(tracker):
    assert tracker.set_parameter("camera_timeout", 0.5).successful
    with tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses:
        with tracker.camera() as camera:
            camera.next()
            assert tracker.init(camera.truth, "it").success
            last = camera.next()
        silent = wait_for(lambda: next((s for s in statuses if s.camera_silent and s.targets), None), "news of silence")
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


@pytest.fixture
def failing(start, tmp_path, monkeypatch):
    """start(namespace) of a node whose network fails on every image while the file exists."""
    switch = tmp_path / "fail"
    program = tmp_path / "failing_node.py"
    program.write_text(
        "from pathlib import Path\n"
        "from snscf_core import Tracker\n"
        "real = Tracker.update\n"
        "def update(self, frame, targets):\n"
        f"    if Path({str(switch)!r}).exists():\n"
        "        raise RuntimeError('no such kernel')\n"
        "    return real(self, frame, targets)\n"
        "Tracker.update = update\n"
        "from snscf_ros.tracker_node import main\n"
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
