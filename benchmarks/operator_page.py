# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures the operator's page: how old its pictures are, what it costs, and which target a late click starts.

    python benchmarks/operator_page.py [--seconds 20] [--model snscf_nano] [--scenes 20] [--output page.json]

A camera process sends images of 640 x 480 at 30 Hz, the real node follows one target in them, the real page is open in
a headless Chromium. It needs Chromium and Playwright. All figures depend on what else the machine does: the report
names its load.

- Pictures: time from an image's stamp, set just before it is published, to the drawing in the browser.
- Share: processor time of the page's process in parts of one core, with no viewer, and with one: while nothing is
  followed, when every image is shown, and while one target is.
- Latency: of the node, as it says itself in ~/status, with no viewer, with the browser on this machine, and with a
  viewer that draws nothing here, as one on another machine.
- Clicks: in generated scenes, a viewer draws the true box of the cup on a picture, and its request arrives 0.5 s after
  that picture was sent. The click counts if the boxes of the next second overlap with the cup by more than half, in the
  median image. It is made once with the stamp of the picture, and once without a stamp.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import rig

from snscf_ros import bringup
from snscf_ros.processes import Child

SIZE = (640, 480)
RATE = 30.0  # Hz
SCENE_RATE = 15.0  # Hz
SCENE_FRAMES = 75
FIRST_CLICK = 15  # frame that the click is made on, about
LINK = 0.5  # s there and back
JUDGED = 1.0  # s of detections after the answer
_RECORD = (
    "window.shown = []; document.addEventListener('snscf:shown', ({detail}) => window.shown.push("
    "[detail.stamp, performance.timeOrigin + performance.now(), detail.targets.length]));"
)


@contextmanager
def page(namespace: str, folder: Path, **parameters: Any) -> Iterator[tuple[str, int]]:
    """Runs the page's process; yields its address and its process id."""
    command = bringup.operator_command(parameters={"port": 0, **parameters}, namespace=namespace)
    with Child("page", command, folder / f"page{time.monotonic_ns()}.log") as child:
        address = rig.until(lambda: re.search(r": open (\S+)", child.log.read_text()), 60, "the page's address")
        yield address[1], child.pid


class Latencies:
    """The node's latency, as it says itself, from the last `clear` on."""

    def __init__(self, node: Any, tracker: str) -> None:
        from rclpy.qos import QoSProfile
        from snscf_msgs.msg import TrackStatusArray

        self.values: list[float] = []
        node.create_subscription(TrackStatusArray, f"{tracker}/status", self._add, QoSProfile(depth=50))

    def _add(self, message: Any) -> None:
        if message.targets:
            self.values.append(message.latency * 1e3)

    def take(self) -> list[float]:
        values, self.values = self.values, []
        return values


def percentiles(values: list[float]) -> dict[str, float]:
    p50, p95 = np.percentile(values, (50, 95)) if values else (float("nan"), float("nan"))
    return {"p50": round(float(p50), 1), "p95": round(float(p95), 1), "count": len(values)}


def share(pid: int, seconds: float) -> float:
    """Returns the processor time of a process in parts of one core, over so many seconds from now."""
    before, began = rig.processor_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (rig.processor_seconds(pid) - before) / (time.monotonic() - began)


def watch(node: Any, browser: Any, compressed: bool, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Measures with one kind of image: no viewer, then one."""
    name = "passed" if compressed else "encoded"
    more = ("--compressed", "--targets", 1) if compressed else ("--targets", 1)
    topic = f"/{name}/image_raw" + ("/compressed" if compressed else "")
    parameters = {"model": options.model, "image_transport": "compressed" if compressed else "raw"}
    with ExitStack() as stack:
        enter = stack.enter_context
        enter(Child("tracker", rig.node_command(name, parameters), folder / f"{name}.log"))
        enter(Child("camera", rig.camera_command(topic, SIZE, RATE, *more), folder / f"{name}_camera.log"))
        address, pid = enter(page(name, folder))
        tracker = f"/{name}/{bringup.NODE_NAME}"
        bringup.activate(node, tracker, 120)
        time.sleep(4.0)
        found: dict[str, Any] = {"share_no_viewer": round(share(pid, options.seconds), 4)}
        found["nothing_followed"] = with_viewer(browser, address, pid, options.seconds)
        latencies = Latencies(node, tracker)
        rig.start_on_patches(node, tracker, topic, SIZE, compressed=compressed)
        time.sleep(4.0)
        latencies.take()
        time.sleep(options.seconds)
        without = latencies.take()
        found["one_followed"] = with_viewer(browser, address, pid, options.seconds, latencies.take)
        found["node_latency_no_viewer_ms"] = percentiles(without)
        found["node_latency_one_viewer_ms"] = percentiles(latencies.take())
        with ThreadPoolExecutor(1) as pool:  # Playwright keeps an event loop in this thread
            pool.submit(asyncio.run, light_viewer(address, options.seconds)).result()
        found["node_latency_viewer_elsewhere_ms"] = percentiles(latencies.take())
        found["resident_mb"] = round(rig.resident(pid))
        return found


async def light_viewer(address: str, seconds: float) -> None:
    """Takes all pictures and draws none, as a viewer on another machine costs this one nothing more."""
    import aiohttp

    url, watched = address.partition("?")[0], False
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}ws", headers={"Origin": url.rstrip("/")}) as socket,
    ):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = await socket.receive(seconds + 60)
            if message.type == aiohttp.WSMsgType.BINARY:
                (length,) = struct.unpack("<I", message.data[:4])
                await socket.send_json({"type": "ack", "frame": json.loads(message.data[4 : 4 + length])["frame"]})
            elif not watched and (cameras := json.loads(message.data).get("cameras")):
                watched = True
                await socket.send_json({"type": "watch", "camera": cameras[0]["name"]})


def with_viewer(
    browser: Any, address: str, pid: int, seconds: float, begin: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Measures with the page open in the browser. begin: called when the measurement begins."""
    tab = browser.new_page(viewport={"width": 1280, "height": 800})
    tab.add_init_script(_RECORD)
    tab.goto(address)
    tab.locator("#empty").wait_for(state="hidden")
    tab.wait_for_timeout(3000)
    tab.evaluate("window.shown.length = 0")
    begin()
    used = share(pid, seconds)
    shown = tab.evaluate("window.shown")
    tab.close()
    return {
        "picture_ms": percentiles([at - int(stamp) * 1e-6 for stamp, at, _ in shown]),
        "pictures_per_second": round(len(shown) / seconds, 1),
        "pictures_with_boxes": round(sum(boxes > 0 for *_, boxes in shown) / max(1, len(shown)), 3),
        "share": round(used, 3),
        "processor_ms_per_picture": round(1e3 * used * seconds / max(1, len(shown)), 1),
    }


# --- clicks over a slow link ---


class SceneCamera:
    """Publishes a generated scene once, and remembers the true box of each stamp."""

    def __init__(self, node: Any, topic: str) -> None:
        from rclpy.qos import QoSProfile
        from sensor_msgs.msg import Image

        from snscf_ros.images import OutgoingImage

        self._publisher = node.create_publisher(Image, topic, QoSProfile(depth=1))
        self._outgoing = OutgoingImage()
        self.truth: dict[int, Any] = {}

    def play(self, shots: list[Any]) -> threading.Thread:
        self.truth = {}
        thread = threading.Thread(target=self._run, args=(shots,), daemon=True)
        thread.start()
        return thread

    def _run(self, shots: list[Any]) -> None:
        from snscf_ros.stamps import set_stamp

        for shot in shots:
            height, width = shot.image.shape[:2]
            np.copyto(self._outgoing.view(height, width), shot.image)
            stamp = time.time_ns()
            self.truth[stamp] = shot.box
            self._outgoing.message.header.frame_id = "camera"
            set_stamp(self._outgoing.message.header.stamp, stamp)
            with suppress(RuntimeError):
                self._publisher.publish(self._outgoing.message)
            time.sleep(1 / SCENE_RATE)


async def click(address: str, camera: SceneCamera, stamped: bool) -> tuple[bool, str]:
    """Clicks on the cup as a viewer behind the slow link does; returns whether the tracker started, and its message."""
    import aiohttp

    url = address.partition("?")[0]
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{url}ws", headers={"Origin": url.rstrip("/")}) as socket,
    ):
        count = 0
        async for message in socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                said = json.loads(message.data)
                if said["type"] == "state" and said["cameras"] and not count:
                    await socket.send_json({"type": "watch", "camera": said["cameras"][0]["name"]})
                if said["type"] == "reply":
                    return said["success"], said["message"]
                continue
            (length,) = struct.unpack("<I", message.data[:4])
            frame = json.loads(message.data[4 : 4 + length])
            await socket.send_json({"type": "ack", "frame": frame["frame"]})
            count += 1
            if count == FIRST_CLICK:
                await asyncio.sleep(LINK)
                box = [float(value) for value in camera.truth[int(frame["stamp"])]]
                stamp = frame["stamp"] if stamped else "0"
                start = {"type": "start", "number": 1, "box": box, "stamp": stamp, "camera": "", "target_id": ""}
                await socket.send_json(start)
    return False, "the connection ended"


def overlap(a: Any, b: Any) -> float:
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    return float(width * height / (a[2] * a[3] + b[2] * b[3] - width * height))


def clicks(node: Any, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Counts in how many scenes the click starts the cup, with the picture's stamp and without."""
    from rclpy.qos import QoSProfile
    from snscf_msgs.msg import TrackStatusArray
    from std_srvs.srv import Trigger

    from snscf_core.scenes import Scene
    from snscf_ros.messages import box_from_message
    from snscf_ros.stamps import nanoseconds

    statuses: list[Any] = []
    node.create_subscription(TrackStatusArray, "/clicks/tracker/status", statuses.append, QoSProfile(depth=50))
    found: dict[str, list[bool]] = {"with_stamp": [], "without_stamp": []}
    with ExitStack() as stack:
        # more than the default, so that a busy machine costs no click
        command = rig.node_command("clicks", {"model": options.model, "buffer_seconds": 15.0})
        stack.enter_context(Child("tracker", command, folder / "clicks.log"))
        address, _ = stack.enter_context(page("clicks", folder))
        bringup.activate(node, "/clicks/tracker", 120)
        camera = SceneCamera(node, "/clicks/image_raw")
        for seed in range(options.scenes):
            shots = list(Scene(SCENE_FRAMES, seed=seed, full_occlusion=0, partial_occlusion=False))
            for name, results in found.items():
                bringup.call(node, Trigger, "/clicks/tracker/reset", Trigger.Request())
                playing = camera.play(shots)
                started, message = asyncio.run(asyncio.wait_for(click(address, camera, name == "with_stamp"), 60))
                statuses.clear()
                time.sleep(JUDGED)
                judged = [
                    overlap(box_from_message(status.targets[0].bbox), camera.truth[nanoseconds(status.header.stamp)])
                    for status in statuses
                    if status.targets and nanoseconds(status.header.stamp) in camera.truth
                ]
                right = started and bool(judged) and statistics.median(judged) > 0.5
                results.append(right)
                playing.join()
                print(f"scene {seed}, {name}: {'right' if right else 'wrong'} ({message})", flush=True)
    return {name: {"right": sum(results), "scenes": len(results)} for name, results in found.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement; 0 for none (default 20)")
    parser.add_argument("--model", default="snscf_nano", help="(default snscf_nano)")
    parser.add_argument(
        "--scenes", type=int, default=20, help="generated scenes for the clicks; 0 for none (default 20)"
    )
    parser.add_argument("--output", type=Path, help="JSON file for the figures")
    options = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        print("operator_page: there is no Chromium", file=sys.stderr)
        return 1
    rig.isolate()
    from playwright.sync_api import sync_playwright

    figures: dict[str, Any] = {"cores": os.cpu_count(), "load_before": os.getloadavg(), "model": options.model}
    with tempfile.TemporaryDirectory() as place, rig.peer() as node:
        folder = Path(place)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name, compressed in (("passed_through", True), ("encoded", False)) if options.seconds else ():
                figures[name] = watch(node, browser, compressed, options, folder)
                print(f"{name}: {json.dumps(figures[name], indent=1)}", flush=True)
            browser.close()
        if options.scenes:
            figures["clicks"] = clicks(node, options, folder)
    figures["load_after"] = os.getloadavg()
    print(json.dumps({name: figures[name] for name in ("load_before", "load_after", "clicks") if name in figures}))
    if options.output:
        options.output.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
