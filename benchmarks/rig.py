# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs what the node's benchmarks share: a camera process, the real node, and a listener.

    python benchmarks/rig.py --topic /image_raw --size 640x480 --rate 30        # only the camera

The camera loops a scene of textured patches that circle over a textured background, or a folder of images back and
forth. The stamp of each image holds its number below 10 ms, which determines the true boxes.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from snscf_ros import bringup

Frame = npt.NDArray[np.uint8]
Box = tuple[float, float, float, float]

PERIOD = 120  # frames of one round
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")
_NUMBERS = 10_000_000  # ns of a stamp that hold the number of the frame


def isolate() -> None:
    """Keeps the traffic on this machine and away from other ROS nodes, and gives images their shared memory."""
    os.environ.setdefault("ROS_DOMAIN_ID", str(random.SystemRandom().randint(1, 100)))
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["PYTHONPATH"] = os.pathsep.join(
        filter(None, [str(Path(bringup.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    os.environ.update(bringup.middleware_environment())


class Patches:
    """Renders `count` patches, each circling in its own cell; the frame's number determines everything."""

    def __init__(self, width: int, height: int, count: int) -> None:
        self.width, self.height, self.count = width, height, count
        self._columns = math.ceil(math.sqrt(count))
        self._cell = (width / self._columns, height / math.ceil(count / self._columns))
        self._side = int(min(self._cell) / 4)
        noise = np.random.default_rng(5)
        coarse = noise.integers(60, 180, (height // 40, width // 40, 3), np.uint8)
        self._background = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        sizes = (self._side, self._side)
        self._patches = [
            cv2.resize(noise.integers(0, 256, (8, 8, 3), np.uint8), sizes, interpolation=cv2.INTER_CUBIC)
            for _ in range(count)
        ]

    def boxes(self, number: int) -> list[Box]:
        """Returns top-left (x, y, w, h) of each patch."""
        angle = 2 * math.pi * (number % PERIOD) / PERIOD
        width, height = self._cell
        boxes: list[Box] = []
        for index in range(self.count):
            row, column = divmod(index, self._columns)
            x = (column + 0.5) * width + 0.2 * width * math.cos(angle + index) - self._side / 2
            y = (row + 0.5) * height + 0.2 * height * math.sin(angle + index) - self._side / 2
            boxes.append((float(round(x)), float(round(y)), float(self._side), float(self._side)))
        return boxes

    def frame(self, number: int, hidden: bool = False) -> Frame:
        """Renders a frame. hidden: without the patches."""
        frame = self._background.copy()
        for (x, y, w, h), patch in zip(self.boxes(number), self._patches, strict=True):
            if not hidden:
                frame[int(y) : int(y + h), int(x) : int(x + w)] = patch
        grain = np.random.default_rng(number % PERIOD).normal(0, 6, frame.shape)
        return np.clip(frame + grain, 0, 255).astype(np.uint8)


def read_folder(folder: Path, width: int, height: int, most: int = 300) -> list[Frame]:
    """Reads the first images of a folder, or of its img/, in the given size."""
    # imports torch, which would slow down the start of a camera
    from snscf_core.evaluation.sequences import image_files, image_folder

    files = image_files(image_folder(folder))[:most]
    frames = [cv2.imread(str(file), cv2.IMREAD_COLOR) for file in files]
    if not frames or any(frame is None for frame in frames):
        raise ValueError(f"{folder} does not hold a sequence of images")
    return [np.asarray(cv2.resize(frame, (width, height)), np.uint8) for frame in frames]


def size_of(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 640x480")
    return int(width), int(height)


def camera_command(topic: str, size: tuple[int, int], rate: float, *more: object) -> list[str]:
    """Returns the argv of the camera process."""
    own = [sys.executable, str(Path(__file__).resolve()), "--topic", topic, "--size", f"{size[0]}x{size[1]}"]
    return [*own, "--rate", str(rate), *map(str, more)]


def node_command(
    namespace: str, parameters: dict[str, Any] | None = None, script: list[str] | None = None
) -> list[str]:
    """Returns the argv of the real node; `script` runs it in place of its module."""
    command = bringup.tracker_command(parameters=parameters, namespace=namespace)
    return command if script is None else [command[0], *script, *command[command.index("--ros-args") :]]


def resident(pid: int) -> float:
    """Returns the resident memory of a process in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def processor_seconds(pid: int) -> float:
    """Returns the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


def number_of(header: Any) -> int:
    """Returns the number of the camera's frame that a header belongs to."""
    return int(header.stamp.nanosec % _NUMBERS)


def age(header: Any) -> float:
    """Returns the seconds since an image was stamped, on this machine."""
    return time.time() - header.stamp.sec - header.stamp.nanosec * 1e-9


def until(condition: Callable[[], Any], timeout: float, what: str) -> Any:
    """Waits for and returns the first true value of `condition`. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout:.0f} s")
        time.sleep(0.002)
    return value


@contextlib.contextmanager
def peer(name: str = "peer") -> Iterator[Any]:
    """Runs the benchmark's own node in the background."""
    import rclpy
    from rclpy.context import Context
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.signals import SignalHandlerOptions

    from snscf_ros.executor import spin

    context = Context()
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    thread = threading.Thread(target=spin, args=(executor,), daemon=True)
    thread.start()
    try:
        yield node
    finally:
        rclpy.try_shutdown(context=context)
        thread.join(2.0)
        node.destroy_node()


def init_target(
    node: Any, tracker: str, box: Box, target_id: str, stamp: Any = None, timeout: float = 30.0, camera: str = ""
) -> Any:
    """Calls ~/init_target with a top-left box in the image of that stamp, or the newest; returns the answer."""
    from snscf_msgs.srv import InitTarget

    from snscf_ros.messages import box_to_message

    request = InitTarget.Request(bbox=box_to_message(box), target_id=target_id, camera=camera)
    if stamp is not None:
        request.stamp = stamp
    return bringup.call(node, InitTarget, f"{tracker}/init_target", request, timeout)


def remove_target(node: Any, tracker: str, target_id: str, timeout: float = 30.0) -> None:
    """Calls ~/remove_target."""
    from snscf_msgs.srv import RemoveTarget

    bringup.call(node, RemoveTarget, f"{tracker}/remove_target", RemoveTarget.Request(target_id=target_id), timeout)


def start_on_patches(
    node: Any,
    tracker: str,
    topic: str,
    size: tuple[int, int],
    count: int = 1,
    compressed: bool = False,
    camera: str = "",
) -> None:
    """Starts a target on each of the `count` patches, `patch_0` and so on. Raises RuntimeError if one is refused."""
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import CompressedImage, Image

    headers: list[Any] = []
    kind = CompressedImage if compressed else Image
    heard = node.create_subscription(kind, topic, lambda image: headers.append(image.header), qos_profile_sensor_data)
    scene = Patches(*size, count)
    for index in range(count):
        for _ in range(10):
            until(lambda: headers, 30, "an image")
            header = headers[-1]
            box, name = scene.boxes(number_of(header))[index], f"{camera}patch_{index}"
            answer = init_target(node, tracker, box, name, header.stamp, camera=camera)
            if answer.success:
                break
            time.sleep(0.5)
        else:
            raise RuntimeError(f"init_target: {answer.message}")
    node.destroy_subscription(heard)


def publish_camera(options: argparse.Namespace) -> None:
    """Publishes images as a camera does, until a signal ends it."""
    import rclpy
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import CompressedImage, Image

    from snscf_ros.images import OutgoingImage, jpeg_message

    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    width, height = options.size
    if options.sequence:
        read = read_folder(options.sequence, width, height)
        frames = read + read[-2:0:-1]
    else:
        scene = Patches(width, height, options.targets)
        frames = [scene.frame(number, options.hidden) for number in range(PERIOD)]
    made = [jpeg_message(frame, 90) for frame in frames] if options.compressed else None
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node(f"camera_{os.getpid()}")
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = node.create_publisher(CompressedImage if options.compressed else Image, options.topic, qos)
    outgoing = OutgoingImage()
    number, due = options.first, time.monotonic()
    while not ended.is_set():
        if made is not None:
            message = made[number % len(frames)]
        else:
            np.copyto(outgoing.view(height, width), frames[number % len(frames)])
            message = outgoing.message
        message.header.frame_id = "rig_camera"
        stamp = (time.time_ns() + int(options.shift * 1e9)) // _NUMBERS * _NUMBERS + number % _NUMBERS
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 1_000_000_000)
        with contextlib.suppress(RuntimeError):  # Fast DDS may have no free memory for it
            publisher.publish(message)
        number += 1
        due = max(due + 1 / options.rate, time.monotonic() - 1 / options.rate)
        ended.wait(max(0.0, due - time.monotonic()))
    rclpy.try_shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", default="/image_raw")
    parser.add_argument("--size", type=size_of, default=(640, 480), metavar="WxH")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--targets", type=int, default=4, help="patches in the scene")
    parser.add_argument("--hidden", action="store_true", help="leave the patches out")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame")
    parser.add_argument("--shift", type=float, default=0.0, help="seconds that the stamps are ahead of the clock")
    parser.add_argument("--sequence", type=Path, metavar="DIR", help="images to loop instead of the scene")
    parser.add_argument("--compressed", action="store_true", help="publish JPEG files")
    publish_camera(parser.parse_args())
    return 0


if __name__ == "__main__":
    sys.exit(main())
