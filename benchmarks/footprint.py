# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures what the real node takes before and beside its network: time to start, memory, processor when idle.

    python benchmarks/footprint.py [--engines auto,onnxruntime] [--runs 5] [--output footprint.json]

The node runs in its own process with 640 x 480 raw images at 30 Hz from a camera process. The engines take turns, and
the table holds the medians of all runs:

- **start**: seconds from the start of the process to *active*, with everything in place that an earlier start left
  behind. **first start**: the same where nothing is (a new machine), once for each engine. The network is then exported
  and, with ``auto``, the engines are compared.
- **idle**: share of one core while images arrive, nothing is followed and nobody is subscribed to results.
  **status heard**: the same while somebody is subscribed to the status. **one target**: the same with a target.
- **first image**: from receiving the first image with a target to its detections, in ms, and the tenth beside it.
- **memory**: resident, in MB, with nothing followed and with each number of targets. The memory that the camera's
  process and the node share for images is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rig
from tqdm import tqdm

from snscf_core.processor import processor
from snscf_ros import bringup
from snscf_ros.processes import Child

SIZE, RATE = (640, 480), 30.0
NAME = "footprint"
TRACKER = f"/{NAME}/{bringup.NODE_NAME}"
TOPIC = f"/{NAME}/{bringup.IMAGE_TOPIC}"


def start(stack: ExitStack, folder: Path, engine: str, targets: int) -> tuple[Child, float]:
    """Starts the node; returns it and the seconds until it was active."""
    parameters = {"engine": engine, "autostart_node": True, "max_targets": max(16, targets)}
    began = time.monotonic()
    log = folder / f"{engine}.log"
    child = stack.enter_context(Child("tracker", rig.node_command(NAME, parameters), log))

    def active() -> bool:
        if child.exit_code is not None:
            raise RuntimeError(f"the node ended:\n{child.last_lines()}")
        return b"active: reading" in log.read_bytes()

    rig.until(active, 300, "the node's activation")
    return child, time.monotonic() - began


def own_memory(pid: int) -> float:
    """Returns the resident memory of a process in MB, without what it shares with others."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssFile")) * 1024 / 1e6


def share(pid: int, seconds: float) -> float:
    """Returns the share of one core that a process uses during the next seconds."""
    used, began = rig.processor_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (rig.processor_seconds(pid) - used) / (time.monotonic() - began)


def measure(node: Any, folder: Path, engine: str, targets: int, seconds: float) -> dict[str, float]:
    """Measures one start and the life after it."""
    from diagnostic_msgs.msg import DiagnosticArray
    from snscf_msgs.msg import TrackStatusArray

    latencies: list[float] = []
    received = [0]

    def note(status: Any) -> None:
        if status.targets:
            latencies.append(1e3 * status.latency)

    def count(diagnostics: Any) -> None:
        values = [value for status in diagnostics.status for value in status.values if value.key == "received"]
        received.extend(int(value.value) for value in values)

    with ExitStack() as stack:
        child, active = start(stack, folder, engine, targets)
        camera = rig.camera_command(TOPIC, SIZE, RATE, "--targets", targets)
        stack.enter_context(Child("camera", camera, folder / "camera.log"))
        counted = node.create_subscription(DiagnosticArray, "/diagnostics", count, 5)
        stack.callback(node.destroy_subscription, counted)
        # as many as are remembered
        rig.until(lambda: received[-1] > 3 * RATE, 60, "images")
        found = {"start_s": active, "idle_share": share(child.pid, seconds), "memory_0_mb": own_memory(child.pid)}
        heard = node.create_subscription(TrackStatusArray, f"{TRACKER}/status", note, 50)
        stack.callback(node.destroy_subscription, heard)
        found["heard_share"] = share(child.pid, seconds)
        rig.start_on_patches(node, TRACKER, TOPIC, SIZE, targets)
        rig.until(lambda: len(latencies) >= 10, 60, "ten images with a target")
        found |= {"first_image_ms": latencies[0], "tenth_image_ms": latencies[9]}
        found["share"] = share(child.pid, seconds)
        found[f"memory_{targets}_mb"] = own_memory(child.pid)
    return found


def first_start(folder: Path, engine: str) -> float:
    """Returns the seconds until the node is active where no earlier start has left anything behind."""
    kept = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as empty, ExitStack() as stack:
        os.environ["XDG_CACHE_HOME"] = empty
        try:
            return start(stack, folder, engine, 1)[1]
        finally:
            os.environ.pop("XDG_CACHE_HOME")
            if kept is not None:
                os.environ["XDG_CACHE_HOME"] = kept


def table(engines: dict[str, dict[str, float]], many: list[int]) -> str:
    names = ["engine", "start, s", "first start, s", "idle", "status heard", "one target", "first image, ms"]
    names += ["tenth, ms", "memory, MB"]
    names += [f"{count} targets" for count in (1, *many)]
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for engine, one in engines.items():
        cells = [f"`{engine}`", f"{one['start_s']:.2f}", f"{one['first_start_s']:.1f}"]
        cells += [f"{one['idle_share']:.1%}", f"{one['heard_share']:.1%}", f"{one['share']:.0%}"]
        cells += [f"{one['first_image_ms']:.0f}", f"{one['tenth_image_ms']:.0f}"]
        cells += [f"{one[f'memory_{count}_mb']:.0f}" for count in (0, 1, *many)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="auto", help="engines of the node, with commas in between")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--many", default="", help="further numbers of targets, with commas, one run each")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each processor share")
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args()
    engines = options.engines.split(",")
    many = [int(count) for count in options.many.split(",") if count]
    rig.isolate()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as place, rig.peer() as node:
        folder = Path(place)
        with tqdm(total=len(engines) * (options.runs + len(many) + 1), unit="start", file=sys.stderr) as bar:
            for engine in engines:
                found[engine] = {"first_start_s": first_start(folder, engine)}
                bar.update()
            runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
            for _ in range(options.runs):
                for engine in engines:
                    runs[engine].append(measure(node, folder, engine, 1, options.seconds))
                    bar.update()
            for engine, ones in runs.items():
                found[engine] |= {name: statistics.median(one[name] for one in ones) for name in ones[0]}
            for count in many:
                for engine in engines:
                    name = f"memory_{count}_mb"
                    found[engine][name] = measure(node, folder, engine, count, options.seconds)[name]
                    bar.update()
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {options.runs}\n")
    print(table(found, many))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
