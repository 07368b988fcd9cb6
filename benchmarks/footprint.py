# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures what the real node takes before and beside its network: time to start, memory, processor when idle.

    python benchmarks/footprint.py [--engines auto,onnxruntime] [--runs 5] [--output footprint.json]
    python benchmarks/footprint.py --against OTHER_CHECKOUT        # in turns with it, in one table

The node runs in its own process with 640 x 480 raw images at 30 Hz from a camera process. The engines take turns, and
the table holds the medians of all runs:

- **start**: seconds from the start of the process to *active*, with everything in place that an earlier start left
  behind. **first start**: the same where nothing is (a new machine), once for each engine. The network is then exported
  and, with ``auto``, the engines are compared.
- **idle**: share of one core while images arrive, nothing is followed and nobody is subscribed to results.
  **status heard**: the same while somebody is subscribed to the status. **one target**: the same with a target.
  **lost**: the same when the target is not in the images any more.
- **first image**: from receiving the first image with a target to its detections, in ms, and the tenth beside it.
- **memory**: resident, in MB, with nothing followed and with each number of targets. The memory that the camera's
  process and the node share for images is left out.

The other checkout may be of an earlier version. Its own environment runs its node and this program's measurement of it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import rig
from tqdm import tqdm

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
    from snscf_msgs.msg import TrackStatus, TrackStatusArray

    latencies: list[float] = []
    states: list[int] = []
    received = [0]

    def note(status: Any) -> None:
        if status.targets:
            latencies.append(1e3 * status.latency)
            states.append(status.targets[0].state)

    def count(diagnostics: Any) -> None:
        values = [value for status in diagnostics.status for value in status.values if value.key == "received"]
        received.extend(int(value.value) for value in values)

    with ExitStack() as stack:
        child, active = start(stack, folder, engine, targets)
        camera = rig.camera_command(TOPIC, SIZE, RATE, "--targets", targets)
        with Child("camera", camera, folder / "camera.log"):
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
        with Child("camera", [*camera, "--hidden"], folder / "camera.log"):
            rig.until(lambda: states[-1] == TrackStatus.LOST, 60, "the loss of the target")
            found["lost_share"] = share(child.pid, seconds)
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


def processor() -> str:
    """Returns the name of the processor. `snscf_core.processor` knows it too, but is missing in earlier checkouts."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


ROWS = {
    "start, s": ("start_s", "{:.2f}"),
    "first start, s": ("first_start_s", "{:.1f}"),
    "idle": ("idle_share", "{:.1%}"),
    "status heard": ("heard_share", "{:.1%}"),
    "one target": ("share", "{:.0%}"),
    "lost": ("lost_share", "{:.0%}"),
    "first image, ms": ("first_image_ms", "{:.0f}"),
    "tenth, ms": ("tenth_image_ms", "{:.0f}"),
    "memory, MB": ("memory_0_mb", "{:.0f}"),
}


def table(found: dict[str, dict[str, float]], many: list[int]) -> str:
    """Returns a table with a row for each name, such as an engine."""
    rows = ROWS | {
        "1 target" if count == 1 else f"{count} targets": (f"memory_{count}_mb", "{:.0f}") for count in (1, *many)
    }
    lines = ["| " + " | ".join(["engine", *rows]) + " |", "|---" * (1 + len(rows)) + "|"]
    for name, one in found.items():
        lines.append("| " + " | ".join([name, *(form.format(one[key]) for key, form in rows.values())]) + " |")
    return "\n".join(lines)


def medians(runs: list[dict[str, float]]) -> dict[str, float]:
    """Returns the median of each figure over the runs that have it."""
    names = dict.fromkeys(name for one in runs for name in one)
    return {name: statistics.median([one[name] for one in runs if name in one]) for name in names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", default="auto", help="engines of the node, with commas in between")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--many", default="", help="further numbers of targets, with commas, one run each")
    parser.add_argument("--seconds", type=float, default=6.0, help="for each processor share")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="measure another checkout too, in turns")
    parser.add_argument("--warm", action="store_true", help="leave the first start out")
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args()
    if options.against and not (options.against / "environment" / "run.sh").is_file():
        parser.error(f"{options.against} is no checkout of this project")
    engines = options.engines.split(",")
    many = [int(count) for count in options.many.split(",") if count]
    if options.against:
        found = compared(options, engines)
    else:
        found = {f"`{engine}`": one for engine, one in measured(options, engines, many).items()}
    print(f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; medians of {options.runs}\n")
    if not options.warm:
        print(table(found, many))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")
    return 0


def measured(options: argparse.Namespace, engines: list[str], many: list[int]) -> dict[str, dict[str, float]]:
    """Measures this version's node; returns the figures of each engine."""
    rig.isolate()
    runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in engines}
    starts = options.runs + len(many) + (not options.warm)
    with tempfile.TemporaryDirectory() as place, rig.peer() as node:
        folder = Path(place)
        with tqdm(total=len(engines) * starts, unit="start", file=sys.stderr) as bar:
            for engine in engines if not options.warm else ():
                runs[engine].append({"first_start_s": first_start(folder, engine)})
                bar.update()
            for _ in range(options.runs):
                for engine in engines:
                    runs[engine].append(measure(node, folder, engine, 1, options.seconds))
                    bar.update()
            for count in many:
                for engine in engines:
                    name = f"memory_{count}_mb"
                    runs[engine].append({name: measure(node, folder, engine, count, options.seconds)[name]})
                    bar.update()
    return {engine: medians(ones) for engine, ones in runs.items()}


def compared(options: argparse.Namespace, engines: list[str]) -> dict[str, dict[str, float]]:
    """Measures the other checkout and this one, in turns; returns the figures of each and each engine.

    Each keeps its own cache from run to run, so that the median start is one with all in place.

    Raises CalledProcessError if a measurement fails.
    """
    checkouts = {"before": options.against.resolve(), "now": Path(__file__).resolve().parents[1]}
    runs: dict[tuple[str, str], list[dict[str, float]]] = {(e, name): [] for e in engines for name in checkouts}
    with tempfile.TemporaryDirectory() as place:
        for number in range(options.runs):
            for name, checkout in checkouts.items():
                for engine, one in _measured_in(checkout, Path(place, name), options, warm=number > 0).items():
                    runs[engine, name].append(one)
    return {f"`{engine}`, {name}": medians(ones) for (engine, name), ones in runs.items()}


def _measured_in(checkout: Path, cache: Path, options: argparse.Namespace, warm: bool) -> dict[str, dict[str, float]]:
    """Runs this program once in the environment of a checkout."""
    file = cache / "found.json"
    cache.mkdir(exist_ok=True)
    command = ["bash", str(checkout / "environment" / "run.sh"), "python", str(Path(__file__).resolve())]
    command += ["--engines", options.engines, "--runs", "1", "--seconds", str(options.seconds), "--output", str(file)]
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    # Python looks for modules in the folder where the node is started first.
    subprocess.run([*command, *["--warm"] * warm], check=True, stdout=subprocess.DEVNULL, env=environment, cwd=checkout)
    return {name.strip("`"): one for name, one in json.loads(file.read_text()).items()}


if __name__ == "__main__":
    sys.exit(main())
