# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The demo's and the camera's real processes, and a node that watches them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from snscf_ros import bringup

ROOT = Path(__file__).resolve().parents[2]
os.environ.update(bringup.profile_environment())


def stamp_of(header) -> int:
    return header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


class Processes:
    """Starts Python modules of this repository and ends them with the test."""

    def __init__(self, domain: int, folder: Path) -> None:
        self.domain = domain
        # Other programs, of other people even, may be on the same domain.
        self.namespace = f"test_{os.getpid()}_{time.monotonic_ns()}"
        self._folder = folder
        self._started: list[subprocess.Popen] = []

    def camera(self, **parameters: object) -> subprocess.Popen:
        """Starts the camera node with these parameters."""
        pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        return self.start("snscf_ros.demo.camera", "--ros-args", "-r", f"__ns:=/{self.namespace}", *pairs)

    def start(self, module: str, *arguments: str) -> subprocess.Popen:
        """Runs `python -m module` in the test's folder."""
        environment = {
            **os.environ,
            "ROS_DOMAIN_ID": str(self.domain),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        }
        for display in ("DISPLAY", "WAYLAND_DISPLAY"):
            environment.pop(display, None)
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self._folder,
            env=environment,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.communicate(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()


class Viewer:
    """A node that keeps all that a camera publishes."""

    def __init__(self, domain: int, namespace: str) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import CompressedImage, Image
        from std_msgs.msg import Header
        from vision_msgs.msg import Detection2DArray

        from snscf_ros.demo.camera import LATCHED
        from snscf_ros.executor import spin

        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self.node = rclpy.create_node("viewer", context=self._context, namespace=namespace)
        self.images: list[Image] = []
        self.jpegs: list[CompressedImage] = []
        self.truths: dict[int, Detection2DArray] = {}
        self.started: list[Header] = []
        self.finished: list[Header] = []
        deep = QoSProfile(depth=200)
        subscribe = self.node.create_subscription
        subscribe(Image, "image_raw", self.images.append, deep)
        subscribe(CompressedImage, "image_raw/compressed", self.jpegs.append, deep)
        subscribe(Detection2DArray, "ground_truth", self._on_truth, deep)
        subscribe(Header, "camera/started", self.started.append, LATCHED)
        subscribe(Header, "camera/finished", self.finished.append, LATCHED)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor,), daemon=True)
        self._thread.start()

    def _on_truth(self, message) -> None:
        self.truths[stamp_of(message.header)] = message

    def wait(self, condition: Callable[[], object], process: subprocess.Popen, timeout: float = 60) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)

    def play(self, process: subprocess.Popen):
        from std_srvs.srv import Trigger

        def alive() -> None:
            assert process.poll() is None, process.communicate()

        return bringup.call(self.node, Trigger, "camera/play", Trigger.Request(), meanwhile=alive)

    def played(self) -> list:
        """The images from the first to the last frame played."""
        first, last = stamp_of(self.started[0]), stamp_of(self.finished[0])
        return [image for image in self.images if first <= stamp_of(image.header) <= last]

    def close(self) -> None:
        self._context.try_shutdown()
        self._thread.join(5)


def grey(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    """A frame that tells which one it is, even after lossy compression."""
    return np.full((height, width, 3), level, np.uint8)
