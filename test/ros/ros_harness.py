# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the tests of the node share: pictures with a known target, and a real tracker process over real middleware."""

from __future__ import annotations

import array
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from rcl_interfaces.msg import Parameter as ParameterMessage
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from snscf_msgs.srv import InitTarget, RemoveTarget
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray

from snscf_ros import bringup
from snscf_ros.executor import spin

# generous: a deadline only ends a test that has failed
DEADLINE = 60.0

Box = tuple[float, float, float, float]


def wait_for(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """The first true value of `condition`; fails the test if there is none before the deadline."""
    end = time.monotonic() + deadline
    while True:
        if value := condition():
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {deadline:.0f} s")
        time.sleep(0.005)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two top-left (x, y, w, h) boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


class Scene:
    """A textured patch that moves over a textured background, with the noise of a camera; everything follows from the
    number of the frame. `step`: how fast it moves."""

    def __init__(self, width: int = 320, height: int = 240, side: int = 48, seed: int = 7, step: int = 1) -> None:
        random = np.random.default_rng(seed)
        coarse = random.integers(60, 180, (height // 40, width // 40, 3), np.uint8)
        self._background = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        texture = random.integers(0, 256, (8, 8, 3), np.uint8)
        self._patch = cv2.resize(texture, (side, side), interpolation=cv2.INTER_CUBIC)
        self.width, self.height, self.side, self.seed, self.step = width, height, side, seed, step

    def box(self, number: int) -> Box:
        """Top-left (x, y, w, h) of the patch: back and forth, three pixels a frame and step."""
        number *= self.step
        reach_x, reach_y = self.width - self.side, self.height - self.side
        return (
            float(_bounce(40 + 3 * number, reach_x)),
            float(_bounce(60 + 2 * number, reach_y)),
            self.side,
            self.side,
        )

    def frame(self, number: int) -> np.ndarray:
        """H x W x 3 uint8 BGR."""
        x, y, w, h = map(int, self.box(number))
        frame = self._background.copy()
        frame[y : y + h, x : x + w] = self._patch
        noise = np.random.default_rng((self.seed, number)).normal(0, 8, frame.shape)
        return np.clip(frame + noise, 0, 255).astype(np.uint8)


def _bounce(position: int, reach: int) -> int:
    position %= 2 * reach
    return position if position <= reach else 2 * reach - position


def end_process(process: subprocess.Popen) -> int:
    """End a process as Ctrl-C does, and return its exit code. A killed process would leave its shared memory behind."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


def image_message(pixels: np.ndarray, encoding: str, stamp: Time | None = None, frame_id: str = "camera") -> Image:
    """An Image of an H x W [x C] array, with the array's own row length as step."""
    height, width = pixels.shape[:2]
    contiguous = np.ascontiguousarray(pixels)
    message = Image(height=height, width=width, encoding=encoding, step=contiguous.nbytes // height)
    message.is_bigendian = int(pixels.dtype.byteorder == ">")
    message.data = array.array("B", contiguous.tobytes())
    if stamp is not None:
        message.header.stamp = stamp
    message.header.frame_id = frame_id
    return message


def compressed_message(data: bytes, format_text: str, stamp: Time | None = None) -> CompressedImage:
    """A CompressedImage of these bytes."""
    message = CompressedImage(format=format_text)
    message.data = array.array("B", data)
    if stamp is not None:
        message.header.stamp = stamp
    message.header.frame_id = "camera"
    return message


def stamp_of(number: int) -> Time:
    """A stamp that tells the number of its frame."""
    return Time(sec=1000 + number // 30, nanosec=(number % 30) * 33_333_333 + 7)


def key(stamp: Time) -> tuple[int, int]:
    return (stamp.sec, stamp.nanosec)


class Peer:
    """A node of the test, spun in the background: clients, publishers and what was received."""

    def __init__(self) -> None:
        self.node: Node = rclpy.create_node("peer")
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor,), daemon=True)
        self._thread.start()

    def call(self, service: Any, name: str, request: Any, deadline: float = DEADLINE) -> Any:
        """The response to a service request."""
        return bringup.call(self.node, service, name, request, deadline)

    @contextmanager
    def received(self, message_type: Any, topic: str, reliable: bool = True, depth: int = 100) -> Iterator[list[Any]]:
        """A list that grows with every message on `topic`; entered when the publisher has been found."""
        messages: list[Any] = []
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        subscription = self.node.create_subscription(
            message_type, topic, messages.append, QoSProfile(depth=depth, reliability=reliability)
        )
        try:
            wait_for(lambda: self.node.count_publishers(topic), f"publisher of {topic}")
            yield messages
        finally:
            self.node.destroy_subscription(subscription)

    def close(self) -> None:
        self._executor.shutdown(timeout_sec=1)


@dataclass
class Camera:
    """Publishes frames of a scene and waits until each has been tracked."""

    peer: Peer
    publisher: Any
    detections: list[Any]
    scene: Scene
    number: int = 0

    def send(self, message: Any) -> None:
        self.publisher.publish(message)

    def next(self, encoding: str = "bgr8", convert: Callable[[np.ndarray], np.ndarray] | None = None) -> Any:
        """Publish the next frame until its detections come; returns them."""
        pixels = self.scene.frame(self.number)
        message = image_message(convert(pixels) if convert else pixels, encoding, stamp_of(self.number))
        return self.send_until_tracked(message)

    def send_until_tracked(self, message: Any) -> Any:
        self.number += 1
        wanted = key(message.header.stamp)
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            # best effort: a lost image is sent again
            self.send(message)
            resend = time.monotonic() + 3.0
            while time.monotonic() < resend:
                for detections in reversed(self.detections):
                    if key(detections.header.stamp) == wanted:
                        return detections
                time.sleep(0.002)
        raise AssertionError(f"no detections for the image stamped {wanted}")

    @property
    def truth(self) -> Box:
        """The box in the frame that was sent last."""
        return self.scene.box(self.number - 1)


class TrackerProcess:
    """The real node in a process of its own, started from the same data as the launch file starts it."""

    def __init__(
        self,
        namespace: str = "",
        parameters: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        params_file: Path | None = None,
        remappings: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.name = f"/{namespace}/tracker" if namespace else "/tracker"
        self.namespace = f"/{namespace}" if namespace else ""

        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        command = bringup.tracker_command(params_file, parameters, remappings or {}, namespace)
        self.process = subprocess.Popen(
            [python, *command[1:]],
            env={**os.environ, **bringup.middleware_environment(), **(environment or {})},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def log(self) -> str:
        """All that the process has printed."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def interrupt(self, number: int = signal.SIGINT) -> int:
        """Send a signal, and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        end_process(self.process)
        self._log.close()


class Tracker:
    """A tracker process and what a user does with it."""

    def __init__(self, peer: Peer, process: TrackerProcess) -> None:
        self.peer, self.process, self.name = peer, process, process.name

    def activate(self) -> None:
        bringup.activate(self.peer.node, self.name, DEADLINE)

    def transition(self, transition: str) -> None:
        bringup.request_transition(self.peer.node, transition, self.name, DEADLINE)

    @property
    def state(self) -> str:
        return bringup.state(self.peer.node, self.name, DEADLINE)

    def init(
        self, box: Box, target_id: str = "", camera: str = "", stamp: Time | None = None, theta: float = 0.0
    ) -> Any:
        """Call init_target with a top-left box."""
        request = InitTarget.Request(target_id=target_id, camera=camera)
        request.bbox.center.position.x = box[0] + box[2] / 2
        request.bbox.center.position.y = box[1] + box[3] / 2
        request.bbox.center.theta = float(theta)
        request.bbox.size_x, request.bbox.size_y = float(box[2]), float(box[3])
        if stamp is not None:
            request.stamp = stamp
        return self.peer.call(InitTarget, f"{self.name}/init_target", request)

    def remove(self, target_id: str = "") -> Any:
        return self.peer.call(RemoveTarget, f"{self.name}/remove_target", RemoveTarget.Request(target_id=target_id))

    def reset(self) -> Any:
        return self.peer.call(Trigger, f"{self.name}/reset", Trigger.Request())

    def enable(self, on: bool) -> Any:
        return self.peer.call(SetBool, f"{self.name}/enable", SetBool.Request(data=on))

    def set_parameters(self, values: Mapping[str, Any]) -> list[Any]:
        """Returns rcl_interfaces/SetParametersResult for each."""
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
        )
        return list(self.peer.call(SetParameters, f"{self.name}/set_parameters", request).results)

    def set_parameter(self, name: str, value: Any) -> Any:
        return self.set_parameters({name: value})[0]

    def get_parameter(self, name: str) -> Any:
        request = GetParameters.Request(names=[name])
        value = self.peer.call(GetParameters, f"{self.name}/get_parameters", request).values[0]
        return Parameter.from_parameter_msg(ParameterMessage(name=name, value=value)).value

    @contextmanager
    def camera(
        self,
        scene: Scene | None = None,
        topic: str = "image_raw",
        message_type: Any = Image,
        reliable: bool = True,
        first_number: int = 0,
    ) -> Iterator[Camera]:
        """A camera for this tracker; entered when the two have found each other."""
        reliability = ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        full = topic if topic.startswith("/") else f"{self.process.namespace}/{topic}"
        publisher = self.peer.node.create_publisher(message_type, full, QoSProfile(depth=1, reliability=reliability))
        try:
            with self.peer.received(Detection2DArray, f"{self.name}/detections") as detections:
                wait_for(publisher.get_subscription_count, f"subscription to {full}")
                yield Camera(self.peer, publisher, detections, scene or Scene(), first_number)
        finally:
            self.peer.node.destroy_publisher(publisher)


def box_of(detection: Any) -> Box:
    """Top-left box of a Detection2D or a TrackStatus, computed here and not by the code under test."""
    centre, w, h = detection.bbox.center.position, detection.bbox.size_x, detection.bbox.size_y
    return (centre.x - w / 2, centre.y - h / 2, w, h)
