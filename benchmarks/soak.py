# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs the real node for minutes, hours or days: memory, latency, dropped images, and how well targets are followed.

    python benchmarks/soak.py --minutes 10 --output soak/        # soak.json and soak.png
    python benchmarks/soak.py --hours 24 --sequence DIR          # a folder of images, looped back and forth

A camera process loops a scene with four targets (or the images, with four boxes in them) at a steady rate. Every image
must be accounted for: received = tracked + dropped + rejected, with one message of detections for each tracked image.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rig

from snscf_core.boxes import iou
from snscf_ros import bringup
from snscf_ros.processes import Child

TARGETS = 4
# Share of the run after which it counts as settled. The quarter from there is compared with the last quarter.
_SETTLED = 0.25


@dataclass
class Record:
    """Records one sample a second; times are in seconds since the start."""

    times: list[float] = field(default_factory=list)
    resident: list[float] = field(default_factory=list)  # MB
    processor: list[float] = field(default_factory=list)  # share of one core
    latency: list[float] = field(default_factory=list)  # s, median of the second, from stamp to detections
    overlap: list[float] = field(default_factory=list)  # mean over the targets, the last image of the second
    dropped: list[int] = field(default_factory=list)


class Listener:
    """Counts detections and keeps the newest status."""

    def __init__(self, node: Any, scene: rig.Patches | None) -> None:
        from rclpy.qos import QoSProfile
        from snscf_msgs.msg import TrackStatusArray
        from vision_msgs.msg import Detection2DArray

        self._scene = scene
        self._lock = threading.Lock()
        self._early: list[int] = []  # images received before the first status to count from
        self._start: Any = None
        self.count = 0  # detections after that status
        self.repeated = 0  # images with two messages, or with a message out of order
        self._last = -1
        self._latencies: list[float] = []
        self.newest: Any = None
        self.status: Any = None
        qos = QoSProfile(depth=1000)
        node.create_subscription(Detection2DArray, "/soak/tracker/detections", self._detections, qos)
        node.create_subscription(TrackStatusArray, "/soak/tracker/status", self._note_status, qos)

    def _detections(self, message: Any) -> None:
        with self._lock:
            number = rig.number_of(message.header)
            if self._start is None:
                self._early.append(number)
            else:
                self.count += number > rig.number_of(self._start.header)
            self.repeated += number <= self._last
            self._last = number
            self._latencies.append(rig.age(message.header))
            self.newest = message

    def _note_status(self, message: Any) -> None:
        with self._lock:
            if self._start is None and self._early and not message.camera_silent:
                self._start = message
                self.count = sum(number > rig.number_of(message.header) for number in self._early)
            self.status = message

    @property
    def expected(self) -> int:
        """Returns the images tracked since the status from which detections are counted."""
        return int(self.status.frames_processed - self._start.frames_processed)

    def take(self) -> tuple[float, float]:
        """Returns the median latency since the last call, and the mean overlap of the targets in the newest image."""
        with self._lock:
            latencies, self._latencies = self._latencies, []
            newest = self.newest
        overlap = float("nan")
        if newest is not None and self._scene is not None:
            truths = self._scene.boxes(rig.number_of(newest.header))
            boxes = {detection.id: _corner(detection) for detection in newest.detections}
            nothing = (0.0, 0.0, 0.0, 0.0)
            overlap = float(np.mean([iou(boxes.get(f"patch_{i}", nothing), truth) for i, truth in enumerate(truths)]))
        return (float(np.median(latencies)) if latencies else float("nan")), overlap


def _corner(detection: Any) -> rig.Box:
    from snscf_ros.messages import box_from_message

    return box_from_message(detection.bbox)


def soak(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Runs the soak; returns its result. Raises RuntimeError if a process ends early."""
    width, height = options.size
    scene = None if options.sequence else rig.Patches(width, height, TARGETS)
    more: list[object] = ["--targets", TARGETS]
    if options.sequence:
        more += ["--sequence", options.sequence]
    camera = rig.camera_command("/soak/image_raw", options.size, options.rate, *more)
    node_command = rig.node_command("soak", {"device": options.device})
    record = Record()
    with (
        Child("camera", camera, folder / "camera.log") as eye,
        Child("tracker", node_command, folder / "tracker.log") as tracker,
        rig.peer() as node,
    ):
        bringup.activate(node, "/soak/tracker", 180)
        listener = Listener(node, scene)
        rig.until(lambda: listener.status and listener.newest, 120, "the first image")
        for index in range(TARGETS):
            seen = listener.newest.header
            boxes = scene.boxes(rig.number_of(seen)) if scene else _quarters(width, height)
            answer = rig.init_target(node, "/soak/tracker", boxes[index], f"patch_{index}", seen.stamp)
            if not answer.success:
                raise RuntimeError(f"a target could not be started: {answer.message}")
        _follow(options, listener, tracker, eye, record)
        if eye.exit_code is None:
            eye.interrupt()
        rig.until(lambda: eye.exit_code is not None, 20, "the camera's end")
        time.sleep(2.0)
    if tracker.exit_code != 0:
        raise RuntimeError(f"the tracker ended with exit code {tracker.exit_code}:\n{tracker.last_lines()}")
    return _result(options, record, listener, folder)


def _quarters(width: int, height: int) -> list[rig.Box]:
    return [
        (width * (0.25 + 0.5 * column) - 30, height * (0.25 + 0.5 * row) - 30, 60.0, 60.0)
        for row in range(2)
        for column in range(2)
    ]


def _follow(options: argparse.Namespace, listener: Listener, tracker: Child, eye: Child, record: Record) -> None:
    began = time.monotonic()
    used = rig.processor_seconds(tracker.pid)
    seconds = options.hours * 3600 + options.minutes * 60
    while (elapsed := time.monotonic() - began) < seconds:
        time.sleep(1.0)
        for child in (tracker, eye):
            if child.exit_code is not None:
                raise RuntimeError(f"{child.name} ended with exit code {child.exit_code}:\n{child.last_lines()}")
        now_used = rig.processor_seconds(tracker.pid)
        latency, overlap = listener.take()
        now = time.monotonic() - began
        record.times.append(now)
        record.resident.append(rig.resident(tracker.pid))
        record.processor.append((now_used - used) / (now - elapsed))
        record.latency.append(latency)
        record.overlap.append(overlap)
        record.dropped.append(listener.status.frames_dropped)
        used = now_used


def _result(options: argparse.Namespace, record: Record, listener: Listener, folder: Path) -> dict[str, Any]:
    status = listener.status
    first = int(len(record.times) * _SETTLED)
    span = max(1, len(record.times) // 4)
    early, late = slice(first, first + span), slice(-span, None)
    # temporaries come and go between two samples, so compare the peaks
    memory = max(record.resident[early]), max(record.resident[late])
    latency = float(np.nanmedian(record.latency[early])), float(np.nanmedian(record.latency[late]))
    overlaps = np.array(record.overlap[first:])
    return {
        "seconds": record.times[-1],
        "size": list(options.size),
        "rate": options.rate,
        "targets": TARGETS,
        "memory_mb": {"settled": memory[0], "end": memory[1], "growth": memory[1] / memory[0] - 1},
        "latency_s": {"settled": latency[0], "end": latency[1]},
        "overlap": None if np.isnan(overlaps).all() else float(np.nanmean(overlaps)),
        "frames": {
            "received": status.frames_received,
            "tracked": status.frames_processed,
            "dropped": status.frames_dropped,
            "rejected": status.frames_rejected,
            "detections": listener.count,
            "detections_expected": listener.expected,
            "repeated": listener.repeated,
        },
        "log_errors": (folder / "tracker.log").read_text(errors="replace").count("[ERROR]"),
        "samples": record.__dict__,
    }


def plot(result: dict[str, Any], file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    samples = result["samples"]
    minutes = np.array(samples["times"]) / 60
    rows = (
        ("memory (MB)", samples["resident"]),
        ("latency (ms)", np.array(samples["latency"]) * 1e3),
        ("processor (cores)", samples["processor"]),
        ("images dropped", samples["dropped"]),
    )
    figure, axes = pyplot.subplots(len(rows), 1, sharex=True, figsize=(8, 8), layout="constrained")
    for axis, (label, values) in zip(axes, rows, strict=True):
        axis.plot(minutes, values, linewidth=0.8)
        axis.set_ylabel(label)
        axis.set_ylim(0, 1.1 * (np.nanmax(values) or 1))  # an almost constant line would lie on the upper edge
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("minutes")
    width, height = result["size"]
    axes[0].set_title(f"{result['targets']} targets, {width} x {height} at {result['rate']:g} Hz")
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--size", type=rig.size_of, default=(640, 480), metavar="WxH")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second (default 30)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--sequence", type=Path, metavar="DIR", help="images to loop instead of the scene")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder for soak.json and soak.png")
    return parser


def main() -> int:
    options = arguments().parse_args()
    if options.minutes + options.hours <= 0:
        options.minutes = 10.0
    rig.isolate()
    with tempfile.TemporaryDirectory() as folder:
        result = soak(options, Path(folder))
    memory, latency, frames = result["memory_mb"], result["latency_s"], result["frames"]
    print(f"{result['seconds'] / 60:.1f} minutes, {frames['received']} images of {options.size[0]} x {options.size[1]}")
    print(f"memory {memory['settled']:.1f} MB, at the end {memory['end']:.1f} MB ({memory['growth']:+.2%})")
    print(f"latency {latency['settled'] * 1e3:.0f} ms, at the end {latency['end'] * 1e3:.0f} ms")
    print(", ".join(f"{name} {count}" for name, count in frames.items()))
    if result["overlap"] is not None:
        print(f"mean overlap with the true boxes {result['overlap']:.3f}")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        (options.output / "soak.json").write_text(json.dumps(result, indent=1) + "\n")
        plot(result, options.output / "soak.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
