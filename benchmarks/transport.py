# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures the time from the camera's publish call to the arrival of the detections, without the network.

    python benchmarks/transport.py [--images 300] [--rate 30] [--output transport.json]

The real node runs in its own process, with one target and a network that answers at once with a fixed box. The rest is
the time of the middleware, decoding, messages and rclpy's executor. The same process publishes images for the node and,
in turn, for a trivial subscriber, which answers each with an empty message. The difference of the two is the node's own
cost. Processor shares are of one core, while images come at the given rate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rig

from snscf_ros import bringup
from snscf_ros.processes import Child

SIZES = ((640, 480), (1920, 1080))
TARGET = 3.0  # ms; the node's own cost at 640 x 480 raw
_ANSWER = 2.0  # s after which an image counts as lost


@dataclass(frozen=True)
class Row:
    """Holds the figures of one kind of image; times in ms, shares of one core."""

    size: str
    transport: str
    overlay: str
    p50: float
    p95: float
    p99: float
    empty_p50: float  # for the trivial subscriber
    empty_p95: float
    own_p50: float  # median difference of neighbouring images
    lost: int
    node_share: float
    camera_share: float  # including this benchmark's listener


def stub() -> None:
    """Runs the real node with a network that answers at once."""
    from snscf_core import Track, Tracker, TrackState

    box = (100.0, 100.0, 80.0, 60.0)

    def track() -> Track:
        return Track(box=box, score=0.9, state=TrackState.TRACKED, peak_quality=9.0)

    Tracker.warm_up = lambda self: None  # type: ignore[method-assign]
    Tracker.init = lambda self, frame, box: object()  # type: ignore[method-assign,assignment,return-value]
    Tracker.update = lambda self, frame, targets, budget: [track() for _ in targets]  # type: ignore[method-assign,assignment]
    from snscf_ros.node.tracker_node import main

    main()


def empty(topic: str, answers: str, transport: str) -> None:
    """Runs a subscriber that answers each image with an empty Detection2DArray and does nothing else."""
    import rclpy
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage, Image
    from vision_msgs.msg import Detection2DArray

    from snscf_ros.executor import spin
    from snscf_ros.node.cameras import sensor_qos

    rclpy.init(args=[])
    node = rclpy.create_node("empty")
    publisher = node.create_publisher(Detection2DArray, answers, QoSProfile(depth=5))
    kind = CompressedImage if transport == "compressed" else Image
    node.create_subscription(
        kind, topic, lambda image: publisher.publish(Detection2DArray(header=image.header)), sensor_qos()
    )
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    with suppress(KeyboardInterrupt):
        spin(executor)


class Line:
    """Sends images on one topic and receives the answers.

    seen: names of the targets in the newest answer.
    """

    def __init__(self, node: Any, topic: str, answers: str, compressed: bool) -> None:
        from rclpy.qos import QoSProfile, ReliabilityPolicy
        from sensor_msgs.msg import CompressedImage, Image
        from vision_msgs.msg import Detection2DArray

        self._arrived: dict[tuple[int, int], float] = {}
        self._news = threading.Condition()
        self.seen: list[str] = []
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._publisher = node.create_publisher(CompressedImage if compressed else Image, topic, qos)
        node.create_subscription(Detection2DArray, answers, self._note, QoSProfile(depth=5))
        rig.until(self._publisher.get_subscription_count, 60, f"a subscription to {topic}")
        rig.until(lambda: node.count_publishers(answers), 60, f"a publisher of {answers}")

    def _note(self, message: Any) -> None:
        now = time.perf_counter()
        stamp = message.header.stamp
        with self._news:
            self._arrived[stamp.sec, stamp.nanosec] = now
            self.seen = [detection.id for detection in message.detections]
            self._news.notify_all()

    def send(self, message: Any) -> float:
        """Returns the seconds from publishing to the answer; NaN if it does not come."""
        message.header.frame_id = "camera"
        stamp = divmod(time.time_ns(), 1_000_000_000)
        message.header.stamp.sec, message.header.stamp.nanosec = stamp
        began = time.perf_counter()
        self._publisher.publish(message)
        with self._news:
            if not self._news.wait_for(lambda: stamp in self._arrived, _ANSWER):
                return float("nan")
            return self._arrived.pop(stamp) - began


@contextmanager
def lines(node: Any, compressed: bool, folder: Path) -> Iterator[tuple[Line, Line, int]]:
    """Yields the lines to the tracker and to the trivial subscriber, both ready, and the tracker's process id."""
    transport = "compressed" if compressed else "raw"
    suffix = "/compressed" if compressed else ""
    here = str(Path(__file__).resolve())
    tracker = rig.node_command("bench", {"image_transport": transport, "device": "cpu"}, [here, "stub"])
    other = [sys.executable, here, "empty", f"/empty/image_raw{suffix}", "/empty/detections", transport]
    with Child("tracker", tracker, folder / "tracker.log") as child, Child("empty", other, folder / "empty.log"):
        bringup.activate(node, "/bench/tracker", 120)
        yield (
            Line(node, f"/bench/image_raw{suffix}", "/bench/tracker/detections", compressed),
            Line(node, f"/empty/image_raw{suffix}", "/empty/detections", compressed),
            child.pid,
        )


def message_of(frame: rig.Frame, compressed: bool) -> Any:
    """Returns a message of a frame, as JPEG or raw."""
    from snscf_ros.images import OutgoingImage, jpeg_message

    if compressed:
        return jpeg_message(frame, 90)
    outgoing = OutgoingImage()
    np.copyto(outgoing.view(*frame.shape[:2]), frame)
    return outgoing.message


def measured(
    tracker: Line, other: Line, pid: int, size: tuple[int, int], compressed: bool, overlay: str, options: Any
) -> Row:
    message = message_of(rig.Patches(*size, 4).frame(0), compressed)
    for _ in range(20):
        tracker.send(message)
        other.send(message)
    ours, empties = [], []
    for _ in range(options.images):
        ours.append(tracker.send(message))
        empties.append(other.send(message))
    # measure the processor shares while only the tracker gets images
    node_before, own_before, began = rig.processor_seconds(pid), time.process_time(), time.perf_counter()
    for number in range(options.images):
        tracker.send(message)
        time.sleep(max(0.0, began + (number + 1) / options.rate - time.perf_counter()))
    elapsed = time.perf_counter() - began
    both = np.array([ours, empties]) * 1e3
    quantiles = np.nanpercentile(both, (50, 95, 99), axis=1)
    return Row(
        f"{size[0]}x{size[1]}",
        "compressed" if compressed else "raw",
        overlay,
        *(float(value) for value in quantiles[:, 0]),
        *(float(value) for value in quantiles[:2, 1]),
        float(np.nanmedian(both[0] - both[1])),
        int(np.isnan(both[0]).sum()),
        (rig.processor_seconds(pid) - node_before) / elapsed,
        (time.process_time() - own_before) / elapsed,
    )


def run(options: argparse.Namespace) -> list[Row]:
    from rclpy.qos import QoSProfile
    from sensor_msgs.msg import CompressedImage, Image

    rows = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        node = stack.enter_context(rig.peer())
        for compressed in (False, True):
            with lines(node, compressed, folder) as (tracker, other, pid):
                message = message_of(rig.Patches(640, 480, 4).frame(0), compressed)
                tracker.send(message)
                answer = rig.init_target(node, "/bench/tracker", (100.0, 100.0, 80.0, 60.0), "it")
                if not answer.success:
                    raise RuntimeError(f"init_target: {answer.message}")
                for size in SIZES:
                    watched = [("none", None, ""), ("raw", Image, "overlay")]
                    watched.append(("compressed", CompressedImage, "overlay/compressed"))
                    for overlay, kind, topic in watched:
                        if kind is None:
                            rows.append(measured(tracker, other, pid, size, compressed, overlay, options))
                            continue
                        watcher = node.create_subscription(
                            kind, f"/bench/tracker/{topic}", lambda _: None, QoSProfile(depth=1), raw=True
                        )
                        time.sleep(1.0)
                        rows.append(measured(tracker, other, pid, size, compressed, overlay, options))
                        node.destroy_subscription(watcher)
                        time.sleep(0.5)
                    print(table(rows[-3:]), flush=True)
    return rows


def table(rows: list[Row]) -> str:
    """Formats the rows in Markdown."""
    columns = ["images", "overlay", "latency p50 / p95 / p99", "empty subscriber p50 / p95", "node's own, p50", "lost"]
    columns += ["node", "camera"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        lines.append(
            f"| {row.size} {row.transport} | {row.overlay} | {row.p50:.1f} / {row.p95:.1f} / {row.p99:.1f} ms"
            f" | {row.empty_p50:.1f} / {row.empty_p95:.1f} ms | {row.own_p50:.1f} ms | {row.lost}"
            f" | {row.node_share:.0%} | {row.camera_share:.0%} |"
        )
    return "\n".join(lines)


def main() -> int:
    if sys.argv[1:2] == ["stub"]:
        stub()
    if sys.argv[1:2] == ["empty"]:
        empty(*sys.argv[2:5])
        return 0
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300, help="images of each kind (default 300)")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second for the shares (default 30)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    rig.isolate()
    rows = run(options)
    print(table(rows))
    first = rows[0]
    print(f"node's own cost at {first.size} {first.transport}: {first.own_p50:.2f} ms p50, target {TARGET:g} ms")
    if options.output:
        machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
        figures = {"machine": machine, "rate": options.rate, "rows": [asdict(row) for row in rows]}
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
