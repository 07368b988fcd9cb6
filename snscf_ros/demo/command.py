# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The main job, end to end: a camera and the tracker as ROS 2 processes, a target chosen over ROS, and what came of it.

    python -m snscf_ros.demo [--sequence DIR | --video FILE | --camera 0] [--box x,y,w,h]

Leaves in demo_output/: overlay.mp4, contact_sheet.png, scores.json, scores.txt, and the logs of both processes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from snscf_ros import bringup
from snscf_ros.processes import Child
from snscf_ros.stamps import nanoseconds

if TYPE_CHECKING:
    from rclpy.node import Node

    from snscf_ros.demo.camera import FrameSource
    from snscf_ros.demo.report import FrameResult, Report
    from snscf_ros.images import Frame
    from snscf_ros.messages import Box

_RATE = 10.0  # two cores of a laptop keep up with the default model
_ACTIVATION = 180.0  # s: reading the weights on a cold, busy machine
_FIRST_IMAGE = 30.0
_SERVICE = 30.0
_SILENCE = 15.0  # s without an image from which a run is given up
_LINGER = 5.0  # s to wait for the last detections
_TELL_EVERY = 5.0
# Another demo, or a tracker of the user's, may run in the same domain.
_NAMESPACE = f"demo_{os.getpid()}"


class DemoError(Exception):
    """Why the demo cannot go on, in words for the user."""


def main(argv: list[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    arguments = _parser().parse_args(argv)
    # also where the caller ignores it, as shells do for what they start in the background
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        return _run(arguments)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
        return 130


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="demo", description="Follow an object with the real node, and show how well.")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--sequence", metavar="DIR", help="folder with img/0001.jpg, ... and groundtruth_rect.txt")
    source.add_argument("--video", metavar="FILE", help="video file")
    source.add_argument("--camera", metavar="N", type=int, help="camera of this computer, by number")
    parser.add_argument("--box", metavar="X,Y,W,H", type=_box, help="the target in the first frame, in pixels")
    parser.add_argument("--model", default="", help="snscf_mobilenetv2, snscf_r50, or the path of a weights file")
    parser.add_argument("--mode", default="", help="how the tracker decides (default: the best that the weights allow)")
    parser.add_argument("--device", default="", help="cpu, cuda, ... (default: the best there is)")
    parser.add_argument(
        "--rate", metavar="HZ", type=float, default=_RATE, help="frames per second (default: %(default)g)"
    )
    parser.add_argument("--frames", metavar="N", type=int, default=0, help="frames to play (default: all; scene: 240)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="which scene is generated")
    parser.add_argument(
        "--output", metavar="DIR", type=Path, default=Path("demo_output"), help="(default: %(default)s)"
    )
    return parser


def _box(text: str) -> Box:
    try:
        x, y, w, h = (float(part) for part in re.split(r"[,\s]+", text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not four numbers x,y,w,h") from None
    if not (w > 0 and h > 0):
        raise argparse.ArgumentTypeError(f"width and height must be greater than 0, got {w:g} and {h:g}")
    return x, y, w, h


def _run(arguments: argparse.Namespace) -> int:
    if not 0 < arguments.rate <= 1000:
        raise DemoError(f"--rate must be greater than 0 and at most 1000, got {arguments.rate:g}")
    if arguments.frames < 0:
        raise DemoError(f"--frames must not be negative, got {arguments.frames}")
    bringup.isolate()
    output: Path = arguments.output
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f"cannot make the folder {output}: {error.strerror}") from error
    for name in ("overlay.mp4", "contact_sheet.png", "scores.json", "scores.txt", "first_frame.png"):
        (output / name).unlink(missing_ok=True)

    camera_parameters = _camera_parameters(arguments)
    tracker_parameters = {name: value for name in ("model", "mode", "device") if (value := getattr(arguments, name))}
    tracker_command = bringup.tracker_command(parameters=tracker_parameters, namespace=_NAMESPACE)
    with contextlib.ExitStack() as stack:
        tracker = stack.enter_context(Child("tracker", tracker_command, output / "tracker.log"))
        # This process's imports take a second; the tracker's process is importing meanwhile.
        from snscf_ros.demo import camera as cameras

        source = None
        if arguments.camera is None:  # a device can be open only once
            try:
                source = cameras.open_source(**camera_parameters)
            except (OSError, ValueError) as error:
                raise DemoError(str(error)) from error
        command = [
            sys.executable,
            "-m",
            cameras.MODULE,
            "--ros-args",
            "-r",
            f"__ns:=/{_NAMESPACE}",
            "-p",
            f"rate:={arguments.rate}",
        ]
        for name, value in camera_parameters.items():
            command += ["-p", f"{name}:={value}"]
        camera = stack.enter_context(Child("camera", command, output / "camera.log"))
        return stack.enter_context(_Session([tracker, camera], arguments, source)).run()


def _camera_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    parameters: dict[str, Any] = {"source": "scene", "frames": arguments.frames, "seed": arguments.seed}
    if arguments.sequence is not None:
        parameters |= {"source": "sequence", "path": str(Path(arguments.sequence).expanduser().resolve())}
    elif arguments.video is not None:
        parameters |= {"source": "video", "path": str(Path(arguments.video).expanduser().resolve())}
    elif arguments.camera is not None:
        parameters |= {"source": "device", "device": arguments.camera}
    return parameters


class _Session:
    """The demo's own node, and the steps from choosing the target to the scores."""

    def __init__(self, children: list[Child], arguments: argparse.Namespace, source: FrameSource | None) -> None:
        self._children = children
        self._arguments = arguments
        self._source = source
        self._length = source.length if source else None
        if arguments.frames:
            self._length = min(arguments.frames, self._length or arguments.frames)
        self._tracker_details: dict[str, str] = {}

    def __enter__(self) -> _Session:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.signals import SignalHandlerOptions

        from snscf_ros.demo.frame_matcher import FrameMatcher
        from snscf_ros.executor import spin

        self._pairing = FrameMatcher(self._source is not None and self._source.has_truth)
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node: Node = rclpy.create_node("demo", namespace=_NAMESPACE)
        self._subscribe()
        executor = SingleThreadedExecutor()
        executor.add_node(self._node)
        self._spinning = threading.Thread(target=spin, args=(executor,), name="spin", daemon=True)
        self._spinning.start()
        return self

    def __exit__(self, *_: object) -> None:
        import rclpy

        for child in self._children:
            child.interrupt()
        rclpy.try_shutdown()
        self._spinning.join(2.0)

    def run(self) -> int:
        """All steps; returns the exit code. Raises DemoError."""
        arguments = self._arguments
        domain = os.environ["ROS_DOMAIN_ID"]
        place = f"in namespace /{_NAMESPACE} of ROS_DOMAIN_ID {domain}"
        _say(f"starting the tracker and the camera {place}; their logs are in {arguments.output}")
        self._activate()
        frame, truth = self._first_image()
        box = arguments.box or truth or self._select(frame)
        x, y, w, h = box
        answer = self._init_target(box)
        if not answer.success:
            raise DemoError(f"the tracker refused the box {x:g},{y:g},{w:g},{h:g}: {answer.message}")
        _say(answer.message)

        from snscf_ros.demo.report import Report

        report = Report(arguments.output, arguments.rate, self._length)
        try:
            self._play(report)
        finally:
            # Whatever stopped the run, what was seen until then is written.
            for shot, result in self._pairing.take(everything=True):
                report.add(shot, result)
            summary = report.close(self._source_name(), self._tracker_name())
            if summary is not None:
                print(f"\n{summary.table()}\n", flush=True)
                names = ", ".join(sorted(path.name for path in arguments.output.iterdir()))
                _say(f"results are in {arguments.output}: {names}")
        if summary is None or summary.frames_tracked == 0:
            raise DemoError("no frame was tracked")
        return 0

    def _subscribe(self) -> None:
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image
        from snscf_msgs.msg import TrackStatusArray
        from std_msgs.msg import Header
        from vision_msgs.msg import Detection2DArray

        from snscf_core import Track, TrackState
        from snscf_ros.demo.camera import LATCHED, NODE_NAME, TRUTH_TOPIC
        from snscf_ros.images import frame_from_image
        from snscf_ros.messages import box_from_message

        pairing, tracker = self._pairing, bringup.NODE_NAME
        # A frame counts as tracked when both its detections and its status have come, in whichever order.
        detected: dict[int, tuple[Box | None, float]] = {}
        statuses: dict[int, TrackStatusArray] = {}

        def on_image(message: Image) -> None:
            pairing.add_image(nanoseconds(message.header.stamp), frame_from_image(message))

        def on_truth(message: Detection2DArray) -> None:
            box = box_from_message(message.detections[0].bbox) if message.detections else None
            pairing.add_truth(nanoseconds(message.header.stamp), box)

        def on_detections(message: Detection2DArray) -> None:
            stamp = nanoseconds(message.header.stamp)
            box = box_from_message(message.detections[0].bbox) if message.detections else None
            detected[stamp] = (box, (time.time_ns() - stamp) * 1e-9)
            pair(stamp)

        def on_status(message: TrackStatusArray) -> None:
            stamp = nanoseconds(message.header.stamp)
            statuses[stamp] = message
            pair(stamp)

        def pair(stamp: int) -> None:
            if stamp not in detected or stamp not in statuses:
                return
            (box, latency), status = detected.pop(stamp), statuses.pop(stamp)
            track = None
            if status.targets:
                target = status.targets[0]
                # A lost target is in the status only, with the box where it may be.
                track = Track(
                    box or box_from_message(target.bbox), target.score, TrackState(target.state), target.peak_quality
                )
            pairing.add_track(stamp, track, latency)

        def on_diagnostics(message: DiagnosticArray) -> None:
            for status in message.status:
                if status.name == f"/{_NAMESPACE}/{tracker}: tracker":
                    self._tracker_details = {value.key: value.value for value in status.values}

        many = QoSProfile(depth=100)
        subscribe = self._node.create_subscription
        subscribe(Image, bringup.IMAGE_TOPIC, on_image, QoSProfile(depth=20))
        subscribe(Detection2DArray, TRUTH_TOPIC, on_truth, many)
        subscribe(Detection2DArray, f"{tracker}/detections", on_detections, many)
        subscribe(TrackStatusArray, f"{tracker}/status", on_status, many)
        subscribe(DiagnosticArray, "/diagnostics", on_diagnostics, many)
        subscribe(Header, f"{NODE_NAME}/started", lambda header: pairing.begin(nanoseconds(header.stamp)), LATCHED)
        subscribe(Header, f"{NODE_NAME}/finished", lambda header: pairing.end(nanoseconds(header.stamp)), LATCHED)

    def _activate(self) -> None:
        try:
            bringup.activate(self._node, timeout=_ACTIVATION, meanwhile=self._check_children)
        except (RuntimeError, TimeoutError) as error:
            tracker = self._children[0]
            raise DemoError(tracker.last_error() or f"{error}:\n{tracker.last_lines()}") from error

    def _first_image(self) -> tuple[Frame, Box | None]:
        newest: list[tuple[Frame, Box | None]] = []

        def arrived() -> bool:
            if (item := self._pairing.newest()) is not None:
                newest.append(item)
            return bool(newest)

        self._wait(arrived, _FIRST_IMAGE, "no image came from the camera")
        return newest[-1]

    def _select(self, frame: Frame) -> Box:
        """Let the user draw the box, where there is a display."""
        import cv2

        if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            window = "Draw a box around the target, then press Enter"
            # the headless wheels of OpenCV have no windows
            with contextlib.suppress(cv2.error, AttributeError):
                x, y, w, h = cv2.selectROI(window, frame, showCrosshair=False)
                cv2.destroyAllWindows()
                if w <= 0 or h <= 0:
                    raise DemoError("no box was drawn")
                return float(x), float(y), float(w), float(h)
        picture = self._arguments.output / "first_frame.png"
        cv2.imwrite(str(picture), frame)
        height, width = frame.shape[:2]
        raise DemoError(
            f"which object? Give its box in the first frame ({width} x {height} pixels, see {picture}) as --box x,y,w,h"
        )

    def _init_target(self, box: Box) -> Any:
        from snscf_msgs.srv import InitTarget

        from snscf_ros.messages import box_to_message

        return self._call(InitTarget, f"{bringup.NODE_NAME}/init_target", InitTarget.Request(bbox=box_to_message(box)))

    def _play(self, report: Report) -> None:
        """Play the camera and record what comes, until the last frame or until the camera falls silent."""
        from std_srvs.srv import Trigger

        from snscf_ros.demo.camera import NODE_NAME

        self._pairing.record()
        self._call(Trigger, f"{NODE_NAME}/play", Trigger.Request())
        with _Progress(self._length) as progress:
            ended_at = None
            while not self._pairing.complete:
                for frame, result in self._pairing.take():
                    report.add(frame, result)
                    progress.show(result, report.recent_rate())
                self._check_children()
                now = time.monotonic()
                if self._pairing.ended:
                    ended_at = ended_at or now
                    if now - ended_at > _LINGER:
                        return
                elif now - self._pairing.last_image > _SILENCE:
                    raise DemoError(f"no image came from the camera for {_SILENCE:.0f} s")
                time.sleep(0.01)

    def _call(self, service: Any, name: str, request: Any) -> Any:
        try:
            return bringup.call(self._node, service, name, request, _SERVICE, self._check_children)
        except TimeoutError as error:
            raise DemoError(str(error)) from None

    def _wait(self, done: Callable[[], bool], timeout: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            self._check_children()
            if time.monotonic() > deadline:
                raise DemoError(f"{complaint} within {timeout:.0f} s")
            time.sleep(0.02)

    def _check_children(self) -> None:
        for child in self._children:
            if (code := child.exit_code) is not None:
                raise DemoError(
                    f"the {child.name} ended with exit code {code}; the end of {child.log}:\n{child.last_lines()}"
                )

    def _source_name(self) -> str:
        return self._source.name if self._source else f"camera {self._arguments.camera}"

    def _tracker_name(self) -> str:
        details = self._tracker_details
        if "model" not in details:
            return ""
        return f"{details['model']}, mode {details['mode']}, {details['device']}, {details['engine']}"


class _Progress:
    """A bar on a terminal, a line every few seconds elsewhere."""

    def __init__(self, length: int | None) -> None:
        self._length = length
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(total=length, unit="frame", dynamic_ncols=True, disable=not self._terminal, file=sys.stderr)
        self._told = time.monotonic()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def show(self, result: FrameResult, rate: float) -> None:
        state, score = "-", "-"
        if result.track is not None:
            state, score = result.track.state.name.lower(), f"{result.track.score:.2f}"
        self._bar.update()
        self._bar.set_postfix(state=state, score=score, tracked=f"{rate:.1f}/s", refresh=False)
        now = time.monotonic()
        if not self._terminal and now - self._told > _TELL_EVERY:
            self._told = now
            total = f" of {self._length}" if self._length else ""
            _say(f"frame {result.number}{total}, {state}, score {score}, {rate:.1f} frames tracked per second")


def _say(text: str) -> None:
    print(f"demo: {text}", file=sys.stderr, flush=True)
