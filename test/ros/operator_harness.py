# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the tests of the operator's page share: its real process, a camera that runs by itself, and a real browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import cv2
import numpy as np
from builtin_interfaces.msg import Time
from rclpy.qos import QoSProfile
from ros_harness import Box, Peer, Scene, compressed_message, end_process, image_message, iou, wait_for
from sensor_msgs.msg import CompressedImage, Image

from snscf_ros import bringup

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
NO_CHROMIUM = "there is no Chromium to open the page with: apt-get install chromium"
# generous: a deadline only ends a test that has failed
DEADLINE = 150.0
_ADDRESS = f"{bringup.OPERATOR_EXECUTABLE}: open "


class PageProcess:
    """The real page in a process of its own.

    address: what it printed for browsers.
    """

    def __init__(
        self,
        namespace: str = "",
        environment: Mapping[str, str] | None = None,
        remappings: Mapping[str, str] | None = None,
        **parameters: Any,
    ) -> None:
        self.namespace = namespace
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(
            bringup.operator_command(None, {"port": 0, **parameters}, remappings or {}, namespace),
            env={**os.environ, **bringup.middleware_environment(), **(environment or {})},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def log(self) -> str:
        """All that the process has printed."""
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    @property
    def address(self) -> str:
        def printed() -> str:
            assert self.process.poll() is None, self.log()
            return next((line for line in self.log().splitlines() if line.startswith(_ADDRESS)), "")

        return wait_for(printed, "the page's address", DEADLINE).removeprefix(_ADDRESS)

    @property
    def url(self) -> str:
        """The address without the token."""
        return self.address.partition("?")[0]

    def cpu_seconds(self) -> float:
        """Processor time used so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> int:
        """End it as Ctrl-C does, and return the exit code."""
        return end_process(self.process)


class RunningCamera:
    """Publishes a scene at a rate of its own, until it is closed, and remembers what each stamp shows.

    hidden: while true, the target is not in the picture.
    """

    def __init__(
        self, peer: Peer, namespace: str = "", topic: str = "image_raw", rate: float = 10.0, scene: Scene | None = None
    ) -> None:
        self.scene = scene or Scene()
        self.hidden = False
        self.numbers: dict[int, int] = {}  # of the frame, by stamp in nanoseconds
        self._compressed = topic.endswith("/compressed")
        self._node, self._period = peer.node, 1 / rate
        name = f"/{namespace}/{topic}" if namespace else f"/{topic}"
        kind = CompressedImage if self._compressed else Image
        self.publisher = peer.node.create_publisher(kind, name, QoSProfile(depth=1))
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def truth(self, stamp: int) -> Box:
        """The box of the target in the image of this stamp."""
        return self.scene.box(self.numbers[stamp])

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._node.destroy_publisher(self.publisher)

    def _run(self) -> None:
        number = 0
        while not self._end.wait(self._period):
            frame = self.scene.frame(number)
            if self.hidden:
                frame = cv2.resize(frame[:8, :8], (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_CUBIC)
            now = time.time_ns()
            stamp = Time(sec=now // 10**9, nanosec=now % 10**9)
            self.numbers[now] = number
            if self._compressed:
                data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
                self.publisher.publish(compressed_message(data, "bgr8; jpeg compressed bgr8", stamp))
            else:
                self.publisher.publish(image_message(frame, "bgr8", stamp))
            number += 1


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread of its own: Playwright keeps an event loop in the tests' thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result(DEADLINE * 3)


class Client:
    """A viewer that is no browser, but speaks as the page does.

    frames: headers of the pictures that came.
    messages: the other messages that came.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, acknowledges: bool = True) -> None:
        self.frames: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self._session, self._url, self._acknowledges = session, url, acknowledges

    async def __aenter__(self) -> Client:
        origin = self._url.rstrip("/")
        self.socket = await self._session.ws_connect(f"{self._url}ws", headers={"Origin": origin}, ssl=False)
        self._task = asyncio.ensure_future(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await self._task

    async def send(self, **message: Any) -> None:
        await self.socket.send_str(json.dumps(message))

    async def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Wait for the first true value of the condition."""
        end = time.monotonic() + DEADLINE
        while not (value := condition()):
            assert time.monotonic() < end, f"{what}: not within {DEADLINE:.0f} s"
            await asyncio.sleep(0.005)
        return value

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    async def watch(self) -> None:
        """Watch the first camera as soon as it is known."""
        state = await self.until(
            lambda: next((m for m in reversed(self.of_type("state")) if m["cameras"]), None), "a camera"
        )
        await self.send(type="watch", camera=state["cameras"][0]["name"])

    async def ask(self, **message: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        number = len(self.messages) + 1
        await self.send(number=number, **message)
        replies = lambda: next((m for m in self.of_type("reply") if m["number"] == number), None)  # noqa: E731
        return await self.until(replies, "a reply")

    async def _read(self) -> None:
        async for message in self.socket:
            if message.type == aiohttp.WSMsgType.TEXT:
                self.messages.append(json.loads(message.data))
            elif message.type == aiohttp.WSMsgType.BINARY:
                (length,) = struct.unpack("<I", message.data[:4])
                header = json.loads(message.data[4 : 4 + length])
                self.frames.append({**header, "jpeg": message.data[4 + length :]})
                if self._acknowledges:
                    await self.send(type="ack", frame=header["frame"])
        self.close_code = self.socket.close_code


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium. Without its sandbox, which a container does not allow; it opens only our own page."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Screen:
    """The page in a browser, and what an operator does with it.

    shown: what was drawn, in order: {stamp, camera, targets}.
    sent: the messages that the page sent.
    """

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.page = self.context.new_page()
        self.page.set_default_timeout(DEADLINE * 1000)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("websocket", lambda socket: socket.on("framesent", self._note))
        self.page.add_init_script(
            "window.shown = []; document.addEventListener('snscf:shown', ({detail}) => window.shown.push("
            "{...detail, at: performance.timeOrigin + performance.now()}));"
        )
        self.page.goto(url)

    def _note(self, payload: Any) -> None:
        if isinstance(payload, str) and '"ack"' not in payload:
            self.sent.append(json.loads(payload))

    @property
    def shown(self) -> list[dict[str, Any]]:
        return self.page.evaluate("window.shown")

    def wait_for_picture(self) -> dict[str, Any]:
        """Wait until a picture has been drawn; returns the newest."""
        self.page.locator("#empty").wait_for(state="hidden")
        return self.newest()

    def newest(self) -> dict[str, Any]:
        return self.page.evaluate("window.shown.at(-1)")

    def place(self, x: float, y: float, width: int, height: int) -> tuple[float, float]:
        """Where on the screen a pixel of the image is, while the whole picture is shown."""
        area = self.page.locator("#video").bounding_box()
        scale = min(area["width"] / width, area["height"] / height)
        return (
            area["x"] + area["width"] / 2 + (x - width / 2) * scale,
            area["y"] + area["height"] / 2 + (y - height / 2) * scale,
        )

    def start_messages(self) -> list[dict[str, Any]]:
        return [message for message in self.sent if message["type"] == "start"]

    def close(self) -> None:
        self.context.close()
        assert self.errors == []


def drag(
    screen: Screen, camera: RunningCamera, slowly: bool = False, prepare: Callable[[], object] = lambda: None
) -> dict[str, Any]:
    """Drag a box around the target with the mouse, and return the start message.

    It begins at the corner that is nearest to the middle of the picture: the page's buttons lie over its lower right
    corner. The picture stands still from the press on, so the box is that of the picture then.
    slowly: let the target move away meanwhile.
    prepare: called before each try; a try that is given up ends with Escape, which cancels what was chosen before.
    """
    before = len(screen.start_messages())
    scene, mouse = camera.scene, screen.page.mouse
    size = (scene.width, scene.height)
    while True:
        prepare()
        # the picture may change between looking and pressing
        x, y, w, h = camera.truth(int(screen.newest()["stamp"]))
        right, low = x + w / 2 < scene.width / 2, y + h / 2 < scene.height / 2
        mouse.move(*screen.place(x + w * right, y + h * low, *size))
        mouse.down()
        held = camera.truth(int(screen.newest()["stamp"]))
        if max(abs(held[0] - x), abs(held[1] - y)) <= 3:
            break
        screen.page.keyboard.press("Escape")
        mouse.up()
    if slowly:
        wait_for_in(screen, lambda: iou(held, camera.truth(max(camera.numbers))) < 0.1, "the target elsewhere")
    mouse.move(*screen.place(held[0] + w * (not right), held[1] + h * (not low), *size), steps=4)
    mouse.up()
    wait_for_in(screen, lambda: len(screen.start_messages()) > before, "a start message")
    return screen.start_messages()[-1]


def wait_for_in(screen: Screen, condition: Callable[[], Any], what: str) -> Any:
    """As `wait_for`, letting Playwright run the browser's events meanwhile."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        assert time.monotonic() < end, f"{what}: not within {DEADLINE:.0f} s"
        screen.page.wait_for_timeout(20)
    return value


def pixels(screen: Screen) -> np.ndarray:
    """What the browser shows, as BGR."""
    return cv2.imdecode(np.frombuffer(screen.page.screenshot(), np.uint8), cv2.IMREAD_COLOR)
