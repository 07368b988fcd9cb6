# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node that is connected wrongly says so: at the start in one sentence, later in log, status and diagnostics."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import QoSProfile
from ros_harness import DEADLINE, Scene, box_of, bringup, compressed_message, image_message, iou, stamp_of, wait_for
from sensor_msgs.msg import CompressedImage, Image
from snscf_msgs.msg import TrackStatusArray

from snscf_ros.images import jpeg_message


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """The exit code of a process that ends by itself, and what it printed."""
    output, _ = process.communicate(timeout=DEADLINE)
    return process.returncode, output


def run(command: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.slow
def test_what_cannot_be_started_is_told_in_one_sentence():
    qos = "qos_overrides./image_raw.subscription.reliability"
    faults = {
        "cameras: 'front/' cannot begin a topic": {"cameras": ["front/"]},
        "cameras: '/cam' and 'cam' would both read /cam/image_raw": {"cameras": ["/cam", "cam"]},
        f"{qos} is 'best-effort', must be one of": {qos: "best-effort"},
    }
    processes = {told: run(bringup.tracker_command(parameters=given)) for told, given in faults.items()}
    arguments = {
        "there is no argument --nope": ["--nope"],
        "-p is an argument of ROS, which comes after --ros-args": ["-p", "autostart_node:=true"],
        "--param-file": ["--ros-args", "--param-file", "x.yaml"],
    }
    command = bringup.tracker_command()
    command = command[: command.index("--ros-args")]
    processes |= {told: run([*command, *given]) for told, given in arguments.items()}
    for told, process in processes.items():
        code, output = ended(process)
        lines = [line for line in output.splitlines() if line.startswith("tracker_node: ")]
        assert (code, len(lines)) == (1, 1), output
        assert told in lines[0]
        assert "Traceback" not in output
    assert "did you mean --params-file?" in output


@contextmanager
def publisher(node, kind, topic: str):
    made = node.create_publisher(kind, topic, QoSProfile(depth=1))
    try:
        yield made
    finally:
        node.destroy_publisher(made)


@pytest.mark.slow
def test_silence_is_explained_by_the_graph_and_the_end_leaves_nothing(start):
    """One node through all of it: its remapping holds for compressed images too, and nobody publishes them at first."""
    before = set(os.listdir("/dev/shm"))
    parameters = {"image_transport": "compressed", "camera_timeout": 0.5, "diagnostics_rate": 20.0}
    tracker = start(namespace="wired", parameters=parameters, remappings={"image_raw": "/wired/lens/image"})
    node, topic = tracker.peer.node, "/wired/lens/image"
    tracker.activate()
    with (
        tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
        tracker.peer.received(DiagnosticArray, "/diagnostics") as arrays,
    ):

        def told(text: str) -> bool:
            ours = [s for array in arrays[-1:] for s in array.status if s.name == f"{tracker.name}: camera"]
            in_status = any(text in status.problem for status in statuses[-1:])
            return in_status and any(s.level == DiagnosticStatus.WARN and text in s.message for s in ours)

        wait_for(lambda: told(f"nobody publishes {topic}/compressed"), "word that nobody publishes")
        with publisher(node, Image, topic):
            wait_for(lambda: told(f"but {topic} carries raw images: set image_transport to 'raw'"), "the transport")
        with tracker.camera(topic=f"{topic}/compressed", message_type=CompressedImage) as camera:
            wait_for(lambda: told(f"has a publisher of {topic}/compressed, but sends nothing"), "the idle camera")
            jpeg = bytes(jpeg_message(camera.scene.frame(0), 90).data)
            camera.send_until_tracked(compressed_message(jpeg, "jpeg", stamp_of(0)))
            with publisher(node, CompressedImage, f"{topic}/compressed"):

                def shared() -> bool:
                    camera.number += 1
                    camera.send(compressed_message(jpeg, "jpeg", stamp_of(camera.number)))
                    time.sleep(0.05)
                    return told(f"2 publishers share {topic}/compressed: /peer, /peer")

                wait_for(shared, "word of the second publisher")
        twin = rclpy.create_node("tracker", namespace="wired")
        try:
            wait_for(lambda: any("2 nodes are called /wired/tracker" in s.problem for s in statuses[-1:]), "the twin")
        finally:
            twin.destroy_node()
    for text in ("nobody publishes", "carries raw images", "2 publishers share", "2 nodes are called"):
        assert text in tracker.process.log()
    tracker.transition("shutdown")
    refused = tracker.init((10, 10, 40, 40))
    assert not refused.success
    assert refused.message == "the tracker is not active, but finalized: it was shut down for good; start the node anew"
    # a terminal that is closed
    assert tracker.process.interrupt(signal.SIGHUP) == 0
    left = {name for name in set(os.listdir("/dev/shm")) - before if name.startswith("fast")}
    assert not [name for name in left if not _in_use(Path("/dev/shm", name))]


def _in_use(file: Path) -> bool:
    """Return whether a process maps the file, or has it open: of this test, or of others beside it."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(file) in (process / "maps").read_text():
                return True
        except OSError:
            continue
    return False


@pytest.mark.slow
def test_images_of_a_second_camera_do_not_move_the_target(tracker):
    """Two cameras on one topic, told apart by their frame_id, then by their size alone."""
    assert tracker.set_parameter("diagnostics_rate", 20.0).successful
    left, right = Scene(320, 240, seed=7), Scene(240, 160, side=40, seed=11, step=3)
    with (
        tracker.camera(left) as camera,
        tracker.peer.received(TrackStatusArray, f"{tracker.name}/status") as statuses,
        tracker.peer.received(DiagnosticArray, "/diagnostics") as arrays,
    ):

        def shown(scene: Scene, frame_id: str):
            """The detections of the next frame of a scene."""
            message = image_message(scene.frame(camera.number), "bgr8", stamp_of(camera.number), frame_id)
            return camera.send_until_tracked(message).detections

        for of_left, of_right in (("left", "right"), ("same", "same")):
            shown(left, of_left)
            assert tracker.init(left.box(camera.number - 1), "it").success
            shown(right, of_right)  # by the size alone it is no other camera yet
            for _ in range(8):
                detections = shown(left, of_left)
                if detections:
                    assert iou(box_of(detections[0]), left.box(camera.number - 1)) > 0.6
                foreign = shown(right, of_right)
                assert foreign == []
            assert detections
            expected = (
                "of the frame_ids 'left', 'right' in turn" if of_left == "left" else "of the sizes 240x160, 320x240"
            )

            def told(text: str, of_left: str, of_right: str) -> bool:
                # what was said of the frame_ids holds for some seconds more
                shown(left, of_left), shown(right, of_right)
                return text in statuses[-1].problem and text in tracker.process.log()

            wait_for(functools.partial(told, expected, of_left, of_right), "word of it in status and log")

            def in_diagnostics(text: str) -> bool:
                ours = [s for array in arrays[-1:] for s in array.status if s.name == f"{tracker.name}: camera"]
                return any(s.level == DiagnosticStatus.WARN and text in s.message for s in ours)

            wait_for(lambda text=expected: in_diagnostics(text), "diagnostics of it")
            tracker.reset()
            camera.detections.clear()


@pytest.mark.slow
def test_boxes_end_at_the_edge_of_the_image_if_so_set(tracker):
    with tracker.camera(Scene(320, 240, side=60)) as camera:
        camera.next()
        x, y, w, h = camera.truth
        # the box of a target that is partly outside
        assert tracker.init((-20.0, y, x + w + 20.0, h), "it").success
        assert box_of(camera.next().detections[0])[0] < 0
        assert tracker.set_parameter("clip_boxes", True).successful
        x, y, w, h = box_of(camera.next().detections[0])
        assert x == 0.0 and x + w <= 320


@pytest.mark.slow
@pytest.mark.parametrize("how", ["nobody", "read-only"])
def test_containers_lack_a_home_or_shared_memory(how):
    """A foreign user without a home whose stdout is closed, and /dev/shm that cannot be written to."""
    tracker = bringup.tracker_command(parameters={"autostart_node": True, "engine": "torch"}, namespace=how[:4])
    shell = ["sh", "-c"]
    if how == "nobody":
        names = ("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME")
        unset = [part for name in names for part in ("-u", name)]
        prefix = ["unshare", "--map-user=54321", "--map-group=54321", "env", *unset]
        command = [*prefix, *shell, 'exec "$@" >&-', "sh", *tracker]
    else:
        script = 'mount -t tmpfs -o size=1m,ro none /dev/shm && exec "$@"'
        command = ["unshare", "--map-root-user", "--mount", *shell, script, "sh", *tracker]
    if subprocess.run([*command[: command.index("sh")], "true"], check=False).returncode:
        pytest.skip("there can be no namespace here")
    profile = str(bringup.profile_file())
    variables = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    # within LOCALHOST, ROS has Fast DDS ask for shared memory whatever the environment says
    process = run(command, **dict.fromkeys(variables, profile), ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET")
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "cannot be written to" in line or (how == "nobody" and "active: reading" in line):
            break
    process.send_signal(signal.SIGTERM)
    code, rest = ended(process)
    output = "".join(lines) + rest
    assert code == 0, output
    assert "active: reading" in output
    if how == "read-only":
        assert "/dev/shm cannot be written to, so images go through the network" in output
        assert "RTPS" not in output
