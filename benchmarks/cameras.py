# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures how one node shares the processor among several cameras that send more than it can track.

    python benchmarks/cameras.py [--rates 30,30,10] [--targets 4,1,1] [--seconds 20] [--output cameras.json]

The real node runs in its own process, and each camera too, with 640 x 480 raw images. For each camera the table holds
the images a second that were sent and tracked, the longest time between two tracked images, and how long they took
from their arrival to the detections. Where all images cannot be tracked, each camera gets a turn as often as any other,
but never more often than it sends. **Fairness** is Jain's index of the tracked rates, each relative to the share that
the camera is entitled to: 1 where all get the same, 1 / N where one of N cameras gets everything.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rig

from snscf_core.processor import processor
from snscf_ros import bringup
from snscf_ros.processes import Child

SIZE = (640, 480)
NAME = "several"
TRACKER = f"/{NAME}/{bringup.NODE_NAME}"


def entitled(rates: list[float], total: float) -> list[float]:
    """Returns the largest equal share of `total` images a second for each camera; none gets more than it sends."""
    shares, left = [0.0] * len(rates), total
    waiting = sorted(range(len(rates)), key=lambda index: rates[index])
    for done, index in enumerate(waiting):
        shares[index] = min(rates[index], left / (len(rates) - done))
        left -= shares[index]
    return shares


def fairness(values: list[float]) -> float:
    """Returns Jain's index of some values, from 1 / N to 1."""
    squares = sum(value * value for value in values)
    return sum(values) ** 2 / (len(values) * squares) if squares else 0.0


def measure(node: Any, folder: Path, rates: list[float], targets: list[int], engine: str, seconds: float) -> list[dict]:
    """Returns the figures of each camera."""
    from snscf_msgs.msg import TrackStatusArray

    names = [f"camera_{index}" for index in range(len(rates))]
    heard: dict[str, list[tuple[float, float]]] = {name: [] for name in names}

    def note(status: Any) -> None:
        if status.camera in heard and not status.camera_silent:
            heard[status.camera].append((time.monotonic(), status.latency))

    parameters = {"cameras": names, "engine": engine, "autostart_node": True, "max_targets": max(16, sum(targets))}
    with ExitStack() as stack:
        log = folder / "tracker.log"
        stack.enter_context(Child("tracker", rig.node_command(NAME, parameters), log))
        rig.until(lambda: b"active: reading" in log.read_bytes(), 300, "the node's activation")
        for name, rate, count in zip(names, rates, targets, strict=True):
            topic = f"/{NAME}/{name}/{bringup.IMAGE_TOPIC}"
            camera = rig.camera_command(topic, SIZE, rate, "--targets", count)
            stack.enter_context(Child(name, camera, folder / f"{name}.log"))
            rig.start_on_patches(node, TRACKER, topic, SIZE, count, camera=name)
        subscription = node.create_subscription(TrackStatusArray, f"{TRACKER}/status", note, 50)
        stack.callback(node.destroy_subscription, subscription)
        time.sleep(2.0)
        for ones in heard.values():
            ones.clear()
        time.sleep(seconds)
        found = {name: list(ones) for name, ones in heard.items()}
    rows = []
    for name, rate, count in zip(names, rates, targets, strict=True):
        times = [at for at, _ in found[name]]
        gaps = [after - before for before, after in itertools.pairwise(times)]
        rows.append(
            {
                "camera": name,
                "targets": count,
                "sent": rate,
                "tracked": len(times) / seconds,
                "longest_gap_s": max(gaps, default=seconds),
                "latency_p50_ms": 1e3 * statistics.median(late for _, late in found[name]) if times else float("nan"),
            }
        )
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", default="30,30,10", help="images a second of each camera")
    parser.add_argument("--targets", default="4,1,1", help="targets in each camera")
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args()
    rates = [float(rate) for rate in options.rates.split(",")]
    targets = [int(count) for count in options.targets.split(",")]
    if len(rates) != len(targets):
        parser.error(f"{len(rates)} rates, but {len(targets)} numbers of targets")
    rig.isolate()
    with tempfile.TemporaryDirectory() as place, rig.peer() as node:
        rows = measure(node, Path(place), rates, targets, options.engine, options.seconds)
    shares = entitled(rates, sum(row["tracked"] for row in rows))
    index = fairness([row["tracked"] / share if share else 0.0 for row, share in zip(rows, shares, strict=True)])
    print(f"{processor()}, Python {platform.python_version()}\n")
    print("| camera | targets | sent, images/s | tracked, images/s | entitled | longest gap, s | latency p50, ms |")
    print("|---|---|---|---|---|---|---|")
    for row, share in zip(rows, shares, strict=True):
        print(
            f"| {row['camera']} | {row['targets']} | {row['sent']:.0f} | {row['tracked']:.1f} | {share:.1f} |"
            f" {row['longest_gap_s']:.2f} | {row['latency_p50_ms']:.0f} |"
        )
    print(f"\nfairness {index:.3f}")
    if options.output:
        options.output.write_text(json.dumps({"fairness": index, "cameras": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
