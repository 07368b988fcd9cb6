# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Simulates a camera: a node that publishes a generated scene, a recorded sequence, a video, or a real device.

Publishes `image_raw` (and `image_raw/compressed` while somebody listens) and, where the truth is known, `ground_truth`
(Detection2DArray with the header of its image; empty where the target is absent). It repeats the first frame until
`~/play` is called, so that a target can be chosen in peace. Then it plays every frame once, in order, or over and over.
`~/started` and `~/finished` (std_msgs/Header, latched) hold the headers of the first and of the last frame played.

    python -m snscf_ros.demo.camera --ros-args -p source:=sequence -p path:=DIR -p rate:=15.0
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable

import numpy as np
import rclpy
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2D, Detection2DArray

from snscf_ros import ros_start, supervision
from snscf_ros.bringup import IMAGE_TOPIC
from snscf_ros.demo.sources import SOURCES, ReadAhead, Shot, open_source
from snscf_ros.executor import spin
from snscf_ros.images import OutgoingImage, jpeg_message
from snscf_ros.messages import Box, box_to_message
from snscf_ros.stamps import set_stamp

NODE_NAME = "camera"
TRUTH_TOPIC = "ground_truth"
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class CameraNode(Node):
    """Publishes the frames of a source, as the module describes. Raises what `open_source` raises.

    failure: why publishing ended; None if it did not fail.
    """

    def __init__(self) -> None:
        super().__init__(NODE_NAME)
        self._declare_parameters()
        value = {name: parameter.value for name, parameter in self._declared.items()}
        self.source = open_source(
            value["source"], value["path"], value["device"], value["frames"], value["seed"], value["loop"]
        )
        self._frame_id: str = value["frame_id"]
        self._jpeg_quality: int = value["jpeg_quality"]
        self._period = 1.0 / value["rate"] if value["rate"] > 0 else 0.0
        self._limit: int = value["frames"]

        qos = QoSProfile(depth=5)
        self._image = self.create_publisher(Image, IMAGE_TOPIC, qos)
        self._jpeg = self.create_publisher(CompressedImage, f"{IMAGE_TOPIC}/compressed", qos)
        self._truth = self.create_publisher(Detection2DArray, TRUTH_TOPIC, qos)
        self._started = self.create_publisher(Header, "~/started", LATCHED)
        self._finished = self.create_publisher(Header, "~/finished", LATCHED)
        self.create_service(Trigger, "~/play", self._play)

        self._outgoing = OutgoingImage()
        self._last_stamp = 0
        self._playing = threading.Event()
        self._ending = threading.Event()
        self.failure: Exception | None = None
        self._reader = ReadAhead(self.source)
        self._autoplay: bool = value["autoplay"]
        self._thread: threading.Thread | None = None

    def start(self, failed: Callable[[], None]) -> None:
        """Start publishing. failed: called if publishing fails, after `failure` is set."""
        self._thread = threading.Thread(target=self._run, args=(failed,), name="camera", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop publishing."""
        self._ending.set()
        self._reader.close()
        if self._thread is not None:
            self._thread.join(2.0)

    def _declare_parameters(self) -> None:
        def describe(text: str, low: float | None = None, high: float | None = None) -> ParameterDescriptor:
            descriptor = ParameterDescriptor(description=text, read_only=True)
            if isinstance(low, int) and isinstance(high, int):
                descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
            elif low is not None and high is not None:
                descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
            return descriptor

        declared = {
            "source": ("scene", describe(f"What to publish: {', '.join(SOURCES)}.")),
            "path": ("", describe("Folder of a sequence (img/0001.jpg, ..., groundtruth_rect.txt) or a video file.")),
            "device": (0, describe("Number of a camera of this computer.", 0, 1000)),
            "rate": (10.0, describe("Frames per second; 0 for a device: as fast as it gives them.", 0.0, 1000.0)),
            "frames": (0, describe("Frames to play; 0: all of them.", 0, 10_000_000)),
            "seed": (0, describe("Which scene is generated.", 0, 2**31 - 1)),
            "frame_id": ("camera", describe("frame_id of the headers.")),
            "jpeg_quality": (90, describe("JPEG quality of image_raw/compressed.", 1, 100)),
            "loop": (False, describe("Whether to begin again after the last frame; a scene first goes backwards.")),
            "autoplay": (False, describe("Whether to play as soon as somebody listens, without waiting for ~/play.")),
        }
        self._declared = {name: self.declare_parameter(name, *rest) for name, rest in declared.items()}
        if self._declared["rate"].value <= 0 and self._declared["source"].value != "device":
            raise ValueError(f"rate is {self._declared['rate'].value:g}, must be greater than 0")

    def _play(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = not self._playing.is_set()
        response.message = "playing" if response.success else "already playing"
        self._playing.set()
        return response

    def _run(self, failed: Callable[[], None]) -> None:
        try:
            self._run_source()
        except Exception as error:
            self.failure = error
            self.get_logger().fatal(f"{error}")
            failed()

    def _run_source(self) -> None:
        shot = self._reader.next()
        if shot is None:
            raise ValueError(f"{self.source.name} has no frames")
        due = time.monotonic()
        while not self._playing.is_set() and not self._ending.is_set():
            if self._autoplay and (self._image.get_subscription_count() or self._jpeg.get_subscription_count()):
                self._playing.set()
                break
            self._publish(shot)
            due = self._wait_until(due)
            if self.source.live:
                shot = self._reader.next() or shot
        played = 0
        header: Header | None = None
        while shot is not None and not self._ending.is_set():
            header = self._publish(shot)
            if played == 0:
                self._started.publish(header)
            played += 1
            if played == self._limit:
                break
            due = self._wait_until(due)
            shot = self._reader.next()
        if header is not None:
            self._finished.publish(header)
            self.get_logger().info(f"played {played} frames of {self.source.name}")

    def _wait_until(self, due: float) -> float:
        """Wait until the next frame is due, and return when that was. After a delay the rhythm starts again."""
        due = max(due + self._period, time.monotonic() - self._period)
        self._ending.wait(max(0.0, due - time.monotonic()))
        return due

    def _publish(self, shot: Shot) -> Header:
        # Two frames must not share a stamp, however coarse or adjusted the clock.
        self._last_stamp = max(self.get_clock().now().nanoseconds, self._last_stamp + 1)
        header = Header(frame_id=self._frame_id)
        set_stamp(header.stamp, self._last_stamp)
        try:
            if self.source.has_truth:
                self._truth.publish(_truth_message(header, shot.box))
            height, width = shot.frame.shape[:2]
            np.copyto(self._outgoing.view(height, width), shot.frame)
            self._outgoing.message.header = header
            self._image.publish(self._outgoing.message)
            if self._jpeg.get_subscription_count() > 0:
                message = jpeg_message(shot.frame, self._jpeg_quality)
                message.header = header
                self._jpeg.publish(message)
        except (
            Exception
        ) as error:  # Fast DDS may refuse an image it has no room for: RCLError, which has no public name
            if self.context.ok():
                self.get_logger().warning(f"an image was not sent: {error}", throttle_duration_sec=5.0)
        return header


def _truth_message(header: Header, box: Box | None) -> Detection2DArray:
    message = Detection2DArray(header=header)
    if box is not None:
        message.detections = [Detection2D(header=header, bbox=box_to_message(box), id="truth")]
    return message


def main(args: list[str] | None = None) -> int:
    """Run the camera and return the exit code. args: as on the command line."""
    # A simple queue, because one put may interrupt another: signals come in bursts.
    ended: queue.SimpleQueue[None] = queue.SimpleQueue()
    # rclpy's own handlers shut the context down under whatever is being constructed.
    supervision.on_request_to_end(lambda *_: ended.put(None))
    ros_start.prepare()
    rclpy.init(
        args=[*(sys.argv if args is None else args), *ros_start.log_arguments()],
        signal_handler_options=SignalHandlerOptions.NO,
    )
    try:
        node = CameraNode()
    except (OSError, ValueError, ParameterException) as error:
        print(f"camera: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    spinning = threading.Thread(target=spin, args=(executor,), name="spin", daemon=True)
    spinning.start()
    node.start(failed=lambda: ended.put(None))
    ended.get()
    node.close()
    rclpy.try_shutdown()
    spinning.join(2.0)
    node.destroy_node()
    return 1 if node.failure is not None else 0


if __name__ == "__main__":
    sys.exit(main())
