# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures the MAVLink camera: how soon a drawn rectangle comes back as a status with the right box, and what it costs.

    python benchmarks/mavlink_link.py [--draws 50] [--rate 30] [--seconds 10] [--model snscf_nano] [--output FILE]

A camera process sends images of 640 x 480. The real node, the real MAVLink camera and a ground station made
with pymavlink run beside it. All figures depend on what else the machine does: the report names its load.

- Acknowledged: time from sending MAV_CMD_CAMERA_TRACK_RECTANGLE, with nothing followed, to its acknowledgement.
- Seen: time to the first status whose box overlaps with the true one, in one of the last images, by more than half.
- Share: processor time of the MAVLink camera in parts of one core, while it only sends heartbeats, and while it sends
  the status of a target at the camera's rate.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rig

from snscf_core.boxes import iou
from snscf_ros import bringup
from snscf_ros.processes import Child

SIZE = (640, 480)
NAMESPACE = "mavlink"
_RECENT = 8  # images whose true boxes a status may have


class GroundStation:
    """Speaks with the camera over UDP."""

    def __init__(self, port: int) -> None:
        os.environ["MAVLINK20"] = "1"
        from pymavlink import mavutil
        from pymavlink.dialects.v20 import common

        self.dialect = common
        self._link = mavutil.mavlink_connection(
            f"udpout:127.0.0.1:{port}", dialect="common", source_system=255, source_component=190
        )

    def beat(self) -> None:
        self._link.mav.heartbeat_send(self.dialect.MAV_TYPE_GCS, self.dialect.MAV_AUTOPILOT_INVALID, 0, 0, 4)

    def command(self, number: int, *params: float, timeout: float = 30.0) -> int:
        """Send a command and return its result. Raises TimeoutError."""
        self._link.mav.command_long_send(1, 100, number, 0, *params, *[0.0] * (7 - len(params)))
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            answer = self._link.recv_match(type="COMMAND_ACK", blocking=True, timeout=0.1)
            if answer is not None and answer.command == number and answer.result != self.dialect.MAV_RESULT_IN_PROGRESS:
                return int(answer.result)
        raise TimeoutError(f"no acknowledgement of command {number}")

    def watch(self, interval: float) -> None:
        """Ask for the status. interval: in seconds; negative: no more."""
        microseconds = interval * 1e6 if interval > 0 else -1
        message = self.dialect.MAVLINK_MSG_ID_CAMERA_TRACKING_IMAGE_STATUS
        self.command(self.dialect.MAV_CMD_SET_MESSAGE_INTERVAL, message, microseconds)

    def status(self) -> Any:
        """Return the next status; None if none comes within 5 s."""
        return self._link.recv_match(type="CAMERA_TRACKING_IMAGE_STATUS", blocking=True, timeout=5.0)


def draw(station: GroundStation, numbers: deque[int], scene: rig.Patches) -> tuple[float, float]:
    """Draw a rectangle; return the seconds to the acknowledgement, and to the first status with the right box."""
    x, y, w, h = scene.boxes(numbers[-1])[0]
    sides = (x / SIZE[0], y / SIZE[1], (x + w) / SIZE[0], (y + h) / SIZE[1])
    began = time.monotonic()
    result = station.command(station.dialect.MAV_CMD_CAMERA_TRACK_RECTANGLE, *sides)
    acknowledged = time.monotonic() - began
    if result != station.dialect.MAV_RESULT_ACCEPTED:
        raise RuntimeError(f"the rectangle was answered with {result}")
    while (status := station.status()) is not None:
        if status.tracking_status & station.dialect.CAMERA_TRACKING_STATUS_FLAGS_ACTIVE:
            left, top = status.rec_top_x * SIZE[0], status.rec_top_y * SIZE[1]
            box = (left, top, status.rec_bottom_x * SIZE[0] - left, status.rec_bottom_y * SIZE[1] - top)
            if any(iou(box, scene.boxes(number)[0]) > 0.5 for number in tuple(numbers)):
                return acknowledged, time.monotonic() - began
    raise TimeoutError("no status")


def share(pid: int, seconds: float) -> float:
    """Return the processor time of a process over these seconds, in parts of one core."""
    before = rig.processor_seconds(pid)
    time.sleep(seconds)
    return (rig.processor_seconds(pid) - before) / seconds


def milliseconds(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    picked = {
        "median": statistics.median(ordered),
        "95 %": ordered[int(0.95 * (len(ordered) - 1))],
        "most": ordered[-1],
    }
    return {name: round(1e3 * value, 1) for name, value in picked.items()}


def measure(node: Any, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    from rclpy.qos import QoSProfile
    from snscf_msgs.msg import TrackStatusArray

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    numbers: deque[int] = deque(maxlen=_RECENT)
    scene = rig.Patches(*SIZE, 1)
    node.create_subscription(
        TrackStatusArray,
        f"/{NAMESPACE}/tracker/status",
        lambda status: numbers.append(rig.number_of(status.header)),
        QoSProfile(depth=20),
    )
    parameters = {"autostart_node": True, "model": options.model}
    with ExitStack() as stack:
        stack.enter_context(Child("tracker", rig.node_command(NAMESPACE, parameters), folder / "tracker.log"))
        topic = f"/{NAMESPACE}/image_raw"
        camera = rig.camera_command(topic, SIZE, options.rate, "--targets", 1)
        stack.enter_context(Child("camera", camera, folder / "camera.log"))
        command = bringup.mavlink_command(
            parameters={"connection": f"udpin:127.0.0.1:{port}", "station_timeout": 600.0}, namespace=NAMESPACE
        )
        mavlink = stack.enter_context(Child("mavlink_camera", command, folder / "mavlink.log"))
        rig.until(lambda: numbers, 120, "a status of the tracker")
        station = GroundStation(port)
        station.beat()
        time.sleep(3.0)
        quiet = share(mavlink.pid, options.seconds)
        station.watch(0.02)
        times = []
        for _ in range(options.draws):
            times.append(draw(station, numbers, scene))
            time.sleep(0.3)
            station.command(station.dialect.MAV_CMD_CAMERA_STOP_TRACKING)
            time.sleep(0.3)
        station.watch(1 / options.rate)
        draw(station, numbers, scene)
        busy = share(mavlink.pid, options.seconds)
    return {
        "acknowledged_ms": milliseconds([acknowledged for acknowledged, _ in times]),
        "seen_ms": milliseconds([seen for _, seen in times]),
        "seen_within_200_ms": sum(seen <= 0.2 for _, seen in times),
        "share_heartbeats": round(quiet, 4),
        "share_status": round(busy, 4),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50, help="rectangles (default 50)")
    parser.add_argument("--rate", type=float, default=30.0, help="images a second (default 30)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement of the share (default 10)")
    parser.add_argument("--model", default="snscf_nano", help="(default snscf_nano)")
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    rig.isolate()
    figures: dict[str, Any] = {
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "model": options.model,
        "rate": options.rate,
    }
    with tempfile.TemporaryDirectory() as place, rig.peer() as node:
        figures.update(measure(node, options, Path(place)))
    figures["load_after"] = os.getloadavg()
    print(json.dumps(figures, indent=1))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
