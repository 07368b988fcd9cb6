# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the tests of the MAVLink camera share: its real process, and a ground station that speaks through pymavlink."""

from __future__ import annotations

import math
import os
import random
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pymavlink.dialects.v20 import common as dialect
from ros_harness import Box, end_process, wait_for

from snscf_ros import bringup

DEADLINE = 60.0
SYSTEM, COMPONENT = 1, 100
TRACKING = dialect.MAVLINK_MSG_ID_CAMERA_TRACKING_IMAGE_STATUS


def free_port() -> int:
    """A UDP port that nobody uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class CameraProcess:
    """The real executable in a process of its own."""

    def __init__(self, connection: str, namespace: str = "", **parameters: Any) -> None:
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(
            bringup.mavlink_command(None, {"connection": connection, **parameters}, namespace),
            env={**os.environ, **bringup.middleware_environment()},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def resident(self) -> int:
        """Bytes of memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> int:
        """End it as Ctrl-C does, and return the exit code."""
        return end_process(self.process)


@contextmanager
def camera_process(connection: str, namespace: str = "", **parameters: Any) -> Iterator[CameraProcess]:
    process = CameraProcess(connection, namespace, **parameters)
    try:
        yield process
        assert process.process.poll() is None, process.log()
        assert "Traceback" not in process.log(), process.log()
    finally:
        process.close()


class GroundStation:
    """Does what a ground station does: sends heartbeats and commands, and reads what comes. A thread receives.

    messages: all that came, as (when, message), with monotonic seconds.
    """

    def __init__(self, port: int, listen: bool, system: int = 255, component: int = 190) -> None:
        """listen: wait for the camera at the port (the camera is udpout); else send to it (the camera is udpin)."""
        self.messages: list[tuple[float, Any]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port if listen else 0))
        self._camera: Any = None if listen else ("127.0.0.1", port)
        self._mav = dialect.MAVLink(None, srcSystem=system, srcComponent=component)
        self._mav.robust_parsing = True
        self._lock = threading.Lock()
        self.heartbeats = True
        self._end = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._receive, self._beat)]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def __enter__(self) -> GroundStation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def pack(self, message: Any) -> bytes:
        with self._lock:
            data = message.pack(self._mav)
            self._mav.seq = (self._mav.seq + 1) % 256
            return data

    def send(self, message: Any) -> None:
        self.send_bytes(self.pack(message))

    def send_bytes(self, data: bytes) -> None:
        if self._camera is not None:
            self._socket.sendto(data, self._camera)

    def of_type(self, kind: str, since: float = 0.0) -> list[Any]:
        return [message for at, message in tuple(self.messages) if message.get_type() == kind and at >= since]

    def wait(self, kind: str, condition: Callable[[Any], Any] = lambda message: True, since: float = 0.0) -> Any:
        """The first message of that type that came since then and meets the condition."""
        return wait_for(
            lambda: next((m for m in self.of_type(kind, since) if condition(m)), None), f"a {kind}", DEADLINE
        )

    def command(
        self, number: int, *params: float, system: int = SYSTEM, component: int = COMPONENT, confirmation: int = 0
    ) -> Any:
        """Make a COMMAND_LONG."""
        seven = (*params, *[0.0] * (7 - len(params)))
        return dialect.MAVLink_command_long_message(system, component, number, confirmation, *seven)

    def ask(self, number: int, *params: float) -> int:
        """Send a command, and return the result that ends it; IN_PROGRESS does not."""
        since = time.monotonic()
        self.send(self.command(number, *params))
        return int(
            self.wait(
                "COMMAND_ACK",
                lambda m: m.command == number and m.result != dialect.MAV_RESULT_IN_PROGRESS,
                since,
            ).result
        )

    def draw(self, box: Box, size: tuple[int, int]) -> int:
        """Draw a rectangle around a box in pixels; returns the result."""
        return self.ask(dialect.MAV_CMD_CAMERA_TRACK_RECTANGLE, *fractions(box, size))

    def watch(self, interval: float = 0.05) -> int:
        """Ask for the status at an interval in seconds; -1: stop it."""
        microseconds = -1 if interval < 0 else interval * 1e6
        return self.ask(dialect.MAV_CMD_SET_MESSAGE_INTERVAL, TRACKING, microseconds)

    def _receive(self) -> None:
        while not self._end.is_set():
            if not select.select([self._socket], [], [], 0.05)[0]:
                continue
            data, address = self._socket.recvfrom(4096)
            if self._camera is None:
                self._camera = address
            now = time.monotonic()
            for message in self._mav.parse_buffer(data) or []:
                assert message.get_msgId() >= 0, "the camera sent a packet that cannot be read"
                self.messages.append((now, message))

    def _beat(self) -> None:
        while not self._end.wait(0.5):
            if self.heartbeats:
                self.send(dialect.MAVLink_heartbeat_message(dialect.MAV_TYPE_GCS, 8, 0, 0, 4, 3))


def fractions(box: Box, size: tuple[int, int]) -> tuple[float, float, float, float]:
    """The corners of a box in fractions of the image."""
    x, y, w, h = box
    return x / size[0], y / size[1], (x + w) / size[0], (y + h) / size[1]


def box_of_status(status: Any, size: tuple[int, int]) -> Box:
    """The box in pixels of a CAMERA_TRACKING_IMAGE_STATUS; NaN where it has none."""
    left, top = status.rec_top_x * size[0], status.rec_top_y * size[1]
    return left, top, status.rec_bottom_x * size[0] - left, status.rec_bottom_y * size[1] - top


def active(status: Any) -> bool:
    """Whether the status is that of a target whose box is known."""
    return bool(status.tracking_status & 1) and not math.isnan(status.rec_top_x)


class FaultyLink:
    """Stands between a ground station and the camera (udpin), and loses, doubles, delays and swaps packets.

    cut: while true, nothing comes through.
    counts: what was done to how many packets.
    """

    def __init__(self, camera_port: int, seed: int, loss: float, doubled: float, delayed: float) -> None:
        self.port = free_port()
        self.cut = False
        self.counts = {"passed": 0, "lost": 0, "doubled": 0, "delayed": 0}
        self._random = random.Random(seed)
        self._loss, self._doubled, self._delayed = loss, doubled, delayed
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.bind(("127.0.0.1", self.port))
        self._far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far.connect(("127.0.0.1", camera_port))
        self._station: Any = None
        self._later: list[tuple[float, bool, bytes]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._near.close()
        self._far.close()

    def _run(self) -> None:
        while not self._end.is_set():
            ready = select.select([self._near, self._far], [], [], 0.005)[0]
            for end in ready:
                try:
                    data, address = end.recvfrom(4096)
                except ConnectionError:  # the camera is not there
                    continue
                if end is self._near:
                    self._station = address
                self._take(end is self._near, data)
            now = time.monotonic()
            for item in [item for item in self._later if item[0] <= now]:
                self._later.remove(item)
                self._pass(item[1], item[2])

    def _take(self, forth: bool, data: bytes) -> None:
        if self.cut or self._random.random() < self._loss:
            self.counts["lost"] += 1
            return
        copies = 2 if self._random.random() < self._doubled else 1
        self.counts["doubled"] += copies - 1
        for _ in range(copies):
            self.counts["passed"] += 1
            if self._random.random() < self._delayed:
                self.counts["delayed"] += 1
                self._later.append((time.monotonic() + self._random.uniform(0.0, 0.5), forth, data))
            else:
                self._pass(forth, data)

    def _pass(self, forth: bool, data: bytes) -> None:
        try:
            if forth:
                self._far.send(data)
            elif self._station is not None:
                self._near.sendto(data, self._station)
        except ConnectionError:
            pass
