# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Injects faults, one after the other, into the real node while it follows two targets; prints a table of the outcomes.

    python benchmarks/faults.py [--output faults.json]

The camera and the node are separate processes: they are killed, stopped and continued by signals, flooded, and fed with
invalid data. After each fault the node must still run and publish detections of new images. Exits with 1 if it does
not.
"""

from __future__ import annotations

import argparse
import array
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rig

from snscf_core.boxes import iou
from snscf_ros import bringup
from snscf_ros.processes import Child

TARGETS = 2
TRACKER = "/faults/tracker"
TOPIC = "/faults/image_raw"
TIMEOUT = 1.0  # s; camera_timeout
_RECOVERY = 60.0  # s; generous, as only a failure waits that long
_SIZE = (640, 480)


class Unexpected(Exception):
    """Reports misbehaviour of the node; the text describes it."""


@dataclass
class Outcome:
    """Records the outcome of one kind of fault."""

    fault: str
    times: int = 0
    happened: str = ""
    recovery: list[float] = field(default_factory=list)  # s from the end of the fault to detections of a new image
    found: str = ""  # number of targets found, and their overlap with the truth
    failures: list[str] = field(default_factory=list)


def failing_node(switch: str) -> None:
    """Runs the real node; its network fails on every image while the file `switch` exists."""
    from snscf_core import Tracker

    real = Tracker.update

    def update(self: Any, frame: Any, targets: Any) -> Any:
        if Path(switch).exists():
            raise RuntimeError("made to fail")
        return real(self, frame, targets)

    Tracker.update = update  # type: ignore[method-assign,assignment]
    from snscf_ros.node.tracker_node import main

    main()


class Bench:
    """Runs a camera, the node and a listener."""

    def __init__(self, stack: ExitStack, folder: Path, rate: float) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image
        from snscf_msgs.msg import TrackStatusArray
        from vision_msgs.msg import Detection2DArray

        self._stack, self._folder, self.rate = stack, folder, rate
        self.switch = folder / "fail"
        self.node = stack.enter_context(rig.peer())
        self.newest: Any = None
        self.count = 0
        self.statuses: list[Any] = []
        self._cameras = 0
        self._trackers = 0
        self.first = 0
        self.node.create_subscription(Detection2DArray, f"{TRACKER}/detections", self._note, QoSProfile(depth=100))
        self.node.create_subscription(
            TrackStatusArray, f"{TRACKER}/status", self.statuses.append, QoSProfile(depth=100)
        )
        self.publisher = self.node.create_publisher(Image, TOPIC, QoSProfile(depth=1))
        self.scene = rig.Patches(*_SIZE, TARGETS)
        self.start_tracker()
        self.start_camera()

    def _note(self, message: Any) -> None:
        # the benchmark's own images have no number
        if "_" in message.header.frame_id:
            self.newest = message
            self.first = rig.number_of(message.header) + 1
            self.count += 1

    def start_camera(self, size: tuple[int, int] = _SIZE, shift: float = 0.0) -> None:
        """Continues with the frame after the last tracked one."""
        self._cameras += 1
        more = ("--targets", TARGETS, "--first", self.first, "--shift", shift)
        command = rig.camera_command(TOPIC, size, self.rate, *more)
        log = self._folder / f"camera_{self._cameras}.log"
        self.camera = self._stack.enter_context(Child("camera", command, log))
        self.scene = rig.Patches(*size, TARGETS)

    def end_camera(self, how: int = signal.SIGINT) -> None:
        os.kill(self.camera.pid, how)
        rig.until(lambda: self.camera.exit_code is not None, 20, "the camera's end")

    def start_tracker(self) -> None:
        self._trackers += 1
        script = [str(Path(__file__).resolve()), "node", str(self.switch)]
        command = rig.node_command("faults", {"camera_timeout": TIMEOUT}, script)
        log = self._folder / f"tracker_{self._trackers}.log"
        self.tracker = self._stack.enter_context(Child("tracker", command, log))
        bringup.activate(self.node, TRACKER, 180)

    def start_targets(self) -> None:
        self.wait_for_detections()
        for index in range(TARGETS):
            seen = self.newest.header
            answer = rig.init_target(
                self.node, TRACKER, self.scene.boxes(rig.number_of(seen))[index], f"patch_{index}", seen.stamp
            )
            if not answer.success:
                raise Unexpected(f"init_target: {answer.message}")

    def wait_for_detections(self, count: int = 3) -> float:
        """Waits until `count` more images have been tracked; returns the seconds."""
        began, before = time.monotonic(), self.count
        rig.until(lambda: self.count >= before + count or self._died(), _RECOVERY, "detections of new images")
        return time.monotonic() - began

    def _died(self) -> bool:
        if self.tracker.exit_code is not None:
            raise Unexpected(f"the node ended with exit code {self.tracker.exit_code}: {self.tracker.last_error()}")
        return False

    def found(self) -> tuple[int, float]:
        """Returns how many targets are in the newest image, and their mean overlap with the truth."""
        from snscf_ros.messages import box_from_message

        newest = self.newest
        truths = self.scene.boxes(rig.number_of(newest.header))
        overlaps = [
            float(iou(box_from_message(detection.bbox), truths[int(detection.id.rpartition("_")[2])]))
            for detection in newest.detections
            if detection.id.startswith("patch_")
        ]
        return len(overlaps), float(np.mean(overlaps)) if overlaps else 0.0

    def wait_for_silence(self) -> None:
        self.statuses.clear()
        rig.until(lambda: [s for s in self.statuses if s.camera_silent], _RECOVERY, "a status of silence")

    def call(self, service: Any, name: str, request: Any) -> Any:
        return bringup.call(self.node, service, f"{TRACKER}/{name}", request, 60)


Fault = Callable[[Bench], str]


def camera_killed(bench: Bench) -> str:
    bench.end_camera(signal.SIGKILL)
    bench.wait_for_silence()
    bench.start_camera()
    return "status: camera silent; the node waited"


def camera_stopped(bench: Bench) -> str:
    os.kill(bench.camera.pid, signal.SIGSTOP)
    bench.wait_for_silence()
    os.kill(bench.camera.pid, signal.SIGCONT)
    return "status: camera silent; the node waited"


def node_stopped(bench: Bench) -> str:
    os.kill(bench.tracker.pid, signal.SIGSTOP)
    time.sleep(3.0)
    before = bench.count
    os.kill(bench.tracker.pid, signal.SIGCONT)
    rig.until(lambda: bench.count > before + 1, _RECOVERY, "detections")
    return f"went on with an image {rig.age(bench.newest.header):.1f} s old"


def node_killed(bench: Bench) -> str:
    os.kill(bench.tracker.pid, signal.SIGKILL)
    rig.until(lambda: bench.tracker.exit_code is not None, 20, "the node's end")
    bench.start_tracker()
    bench.start_targets()
    return "a new node came up beside the same camera; targets were given anew"


def services_flooded(bench: Bench) -> str:
    from snscf_msgs.srv import InitTarget, RemoveTarget

    init = bench.node.create_client(InitTarget, f"{TRACKER}/init_target")
    remove = bench.node.create_client(RemoveTarget, f"{TRACKER}/remove_target")
    rig.until(lambda: init.service_is_ready() and remove.service_is_ready(), 30, "the services")
    before, futures = bench.count, []
    began = time.monotonic()
    while time.monotonic() - began < 10.0:
        request = InitTarget.Request(target_id="flood")
        request.bbox.center.position.x = random.uniform(-100, 900)
        request.bbox.center.position.y = random.uniform(-100, 700)
        request.bbox.size_x = request.bbox.size_y = random.choice((48.0, -1.0, float("nan"), 1e9))
        futures.append(init.call_async(request))
        futures.append(remove.call_async(RemoveTarget.Request(target_id=random.choice(("flood", "none")))))
        time.sleep(0.005)
    during = bench.count - before
    if during < 3:
        raise Unexpected(f"only {during} images were tracked during 10 s of requests")
    time.sleep(2.0)
    answered = sum(future.done() for future in futures)
    bench.node.destroy_client(init)
    bench.node.destroy_client(remove)
    bench.call(RemoveTarget, "remove_target", RemoveTarget.Request(target_id="flood"))
    return f"{len(futures)} requests in 10 s, {answered} answered, {during} images tracked in meanwhile"


def rubbish_among_images(bench: Bench) -> str:
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import Image

    before, chance = bench.count, random.Random(3)
    rejected = bench.statuses[-1].frames_rejected
    for number in range(500):
        message = Image(height=chance.choice((0, 480, 2**31)), width=chance.choice((0, 640, 2**32 - 1)))
        message.encoding = chance.choice(("bgr8", "mono16", "uyvy", "none", ""))
        message.step = chance.choice((0, 1920, 2**32 - 1))
        message.header.frame_id = "rubbish"
        message.data = array.array("B", bytes(chance.choice((0, 1, 1000, 921600))))
        if number % 5 == 0:
            # messages that the middleware cannot read
            whole = serialize_message(message)
            bench.publisher.publish(whole[: chance.randrange(len(whole))])
        else:
            bench.publisher.publish(message)
        time.sleep(0.01)
    bench.wait_for_detections()
    told = bench.statuses[-1].frames_rejected - rejected
    return f"500 messages, {told} seen, rejected and counted; {bench.count - before} good images tracked in meanwhile"


def another_size(bench: Bench) -> str:
    for size in ((320, 240), (1280, 960), _SIZE):
        bench.end_camera()
        bench.start_camera(size)
        bench.wait_for_detections()
    return "640x480, 320x240, 1280x960 and back: targets were scaled with the image"


def time_goes_back(bench: Bench) -> str:
    for shift in (-1000.0, 1000.0, 0.0):
        bench.end_camera()
        bench.start_camera(shift=shift)
        bench.wait_for_detections()
    return "stamps 1000 s back, 2000 s ahead, 1000 s back: images of before forgotten, targets kept"


def network_fails(bench: Bench) -> str:
    bench.switch.touch()
    rig.until(lambda: bringup.state(bench.node, TRACKER, 30) == "inactive", _RECOVERY, "the node to deactivate itself")
    bench.switch.unlink()
    bringup.request_transition(bench.node, "activate", TRACKER, 60)
    return "gave up after 5 images, deactivated itself; active again on request"


def transitions_in_any_order(bench: Bench) -> str:
    done = refused = 0
    for name in ("configure", "activate", "deactivate", "deactivate", "configure", "activate", "activate"):
        try:
            bringup.request_transition(bench.node, name, TRACKER, 60)
            done += 1
        except RuntimeError:
            refused += 1
    if bringup.state(bench.node, TRACKER) != "active":
        raise Unexpected("the node is not active")
    return f"{done} done, {refused} refused, the targets kept"


def interrupted(number: int) -> Fault:
    def interrupt(bench: Bench) -> str:
        began = time.monotonic()
        os.kill(bench.tracker.pid, number)
        rig.until(lambda: bench.tracker.exit_code is not None, 30, "the node's end")
        took = time.monotonic() - began
        if bench.tracker.exit_code != 0:
            raise Unexpected(f"exit code {bench.tracker.exit_code}")
        bench.start_tracker()
        bench.start_targets()
        return f"exit code 0 after {took:.2f} s; started again"

    return interrupt


FAULTS: list[tuple[str, int, Fault]] = [
    ("camera killed, started again", 3, camera_killed),
    ("camera stopped and continued (SIGSTOP, SIGCONT)", 3, camera_stopped),
    ("node stopped for 3 s and continued", 3, node_stopped),
    ("camera started again with another size", 2, another_size),
    ("stamps go back and ahead", 2, time_goes_back),
    ("rubbish among the images", 1, rubbish_among_images),
    ("services flooded", 1, services_flooded),
    ("transitions in any order", 3, transitions_in_any_order),
    ("the network fails on every image", 2, network_fails),
    ("Ctrl-C (SIGINT) while tracking", 2, interrupted(signal.SIGINT)),
    ("SIGTERM while tracking", 2, interrupted(signal.SIGTERM)),
    ("node killed (SIGKILL)", 1, node_killed),
]


def run(options: argparse.Namespace) -> list[Outcome]:
    outcomes = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = Bench(stack, folder, options.rate)
        bench.start_targets()
        for name, times, fault in FAULTS:
            outcome = Outcome(name)
            outcomes.append(outcome)
            for _ in range(times):
                outcome.times += 1
                try:
                    outcome.happened = fault(bench)
                    outcome.recovery.append(bench.wait_for_detections())
                    count, overlap = bench.found()
                    outcome.found = f"{count} of {TARGETS}, {overlap:.2f}"
                except (Unexpected, TimeoutError, RuntimeError) as failure:
                    outcome.failures.append(str(failure))
                    break
                # each fault starts with well-tracked targets
                if count < TARGETS or overlap < 0.5:
                    bench.start_targets()
            print(line(outcome), flush=True)
            if outcome.failures:
                print(bench.tracker.last_lines())
                break
    return outcomes


COLUMNS = ("fault", "times", "what happened", "three more images after (s)", "targets found, mean IoU")


def line(outcome: Outcome) -> str:
    happened = f"FAILED: {outcome.failures[0]}" if outcome.failures else outcome.happened
    recovery = f"{np.median(outcome.recovery):.1f} (max {max(outcome.recovery):.1f})" if outcome.recovery else "-"
    return f"| {outcome.fault} | {outcome.times} | {happened} | {recovery} | {outcome.found or '-'} |"


def main() -> int:
    if sys.argv[1:2] == ["node"]:
        failing_node(sys.argv[2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=5.0, help="images per second (default 5)")
    parser.add_argument("--output", type=Path, help="JSON file for the outcomes")
    options = parser.parse_args()
    rig.isolate()
    print(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|")
    outcomes = run(options)
    if options.output:
        options.output.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
    return 1 if any(outcome.failures for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
