# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sends one browser what it is shown: every message in order, but of the pictures only the newest that it can take."""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol

from snscf_ros.operator.pictures import Picture

_MOST_MESSAGES = 500  # that wait for a browser that takes none; the oldest are left out
_MOST_FRAMES = 32  # on their way at once


class Socket(Protocol):
    """The part of aiohttp's WebSocketResponse that a viewer needs; sending waits while the connection is congested."""

    async def send_str(self, data: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...


class Viewer:
    """Stands for one browser. All methods are called in the event loop's thread.

    The browser acknowledges each frame. At most as many frames are on their way as the camera makes in the shortest
    round trip so far, and one more. That keeps a long link busy, and frames never pile up on a short one.

    number: by which the others know this viewer.
    camera: whose pictures it is shown; None for no pictures.
    """

    def __init__(self, number: int, socket: Socket, rate: float) -> None:
        """Prepare the viewer. rate: frames per second, at most."""
        self.number = number
        self.camera: str | None = None
        self._socket, self._rate = socket, rate
        self._messages: deque[str] = deque(maxlen=_MOST_MESSAGES)
        self._picture: Picture | None = None
        self._frame = 0
        self._sent: dict[int, float] = {}  # when each frame that is on its way was sent, in monotonic seconds
        self._round_trip = 0.0  # s, the last one
        self._shortest = math.inf  # s
        self._news = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether a picture would be sent at once."""
        return self.camera is not None and self._picture is None and len(self._sent) < self._window

    @property
    def _window(self) -> int:
        if math.isinf(self._shortest):
            return 2
        return min(_MOST_FRAMES, 1 + math.ceil(self._shortest * self._rate))

    def tell(self, message: str | Mapping[str, Any]) -> None:
        """Send a message after those before it; JSON text, or what is to become JSON."""
        self._messages.append(message if isinstance(message, str) else json.dumps(message))
        self._news.set()

    def show(self, picture: Picture) -> None:
        """Send a picture as soon as the browser can take one, in place of one that still waits."""
        if picture.camera == self.camera:
            self._picture = picture
            self._news.set()

    def watch(self, camera: str | None) -> None:
        """Show another camera from now on."""
        self.camera, self._picture = camera, None

    def acknowledge(self, frame: int) -> None:
        """Take note that the browser has decoded a frame, and so all before it."""
        if (sent := self._sent.get(frame)) is not None:
            self._round_trip = time.monotonic() - sent
            self._shortest = min(self._shortest, self._round_trip)
            self._sent = {number: at for number, at in self._sent.items() if number > frame}
            self._news.set()

    async def run(self) -> None:
        """Send until cancelled, or until the connection breaks (ConnectionError)."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._messages:
                await self._socket.send_str(self._messages.popleft())
            if self._picture is not None and len(self._sent) < self._window:
                picture, self._picture = self._picture, None
                self._frame += 1
                self._sent[self._frame] = time.monotonic()
                await self._socket.send_bytes(picture.packed(self._frame, self._round_trip))
                self._news.set()
