# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Connects all viewers with the tracker and the cameras: who is shown what, and whose requests are passed on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import TYPE_CHECKING, Any

from snscf_ros.operator import requests
from snscf_ros.operator.feed import Feed
from snscf_ros.operator.pictures import Picture
from snscf_ros.operator.settings import PageSettings
from snscf_ros.operator.target_memory import TargetMemory
from snscf_ros.operator.viewer import Viewer
from snscf_ros.stamps import nanoseconds
from snscf_ros.tracker_client import Answer, NoAnswer, TrackerClient

if TYPE_CHECKING:
    from rclpy.node import Node
    from snscf_msgs.msg import TrackStatusArray

_LOOK_EVERY = 1.0  # s
_LINGER = 3.0  # s to go on after the last viewer has left, for one who only loads the page anew
_STRAGGLERS = 1.0  # s after tracking was switched off in which an earlier status may still arrive
_REPORTING = 2.0  # s without a status after which the tracker is asked whether it is there


class Audience:
    """Holds all viewers. Methods are called in the event loop's thread, except where they say otherwise."""

    def __init__(self, node: Node, settings: PageSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._node, self._settings, self._loop = node, settings, loop
        self._tracker = TrackerClient(node, settings.tracker, loop, self._on_status)
        self._memory = TargetMemory()
        self._feeds: dict[str, Feed] = {}
        self._viewers: list[Viewer] = []
        self._numbers = 0
        self._left = -_LINGER  # when the last viewer left, in monotonic seconds
        self._last_status = 0.0  # monotonic seconds
        self._reachable = False
        self._told = ""  # what was last said of the tracker
        self._news = asyncio.Event()
        self._disabled_at: float | None = None  # when a viewer switched tracking off, in monotonic seconds

    def __len__(self) -> int:
        return len(self._viewers)

    def enter(self, viewer: Viewer) -> None:
        """Add a viewer and tell it what is known."""
        self._viewers.append(viewer)
        viewer.tell({"type": "hello", "you": viewer.number})
        viewer.tell(self._state())
        viewer.tell(self._memory.history())
        self._count()

    def next_number(self) -> int:
        """Return the number of the next viewer."""
        self._numbers += 1
        return self._numbers

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._viewers.remove(viewer)
        self._left = time.monotonic()
        self._count()

    async def run(self) -> None:
        """Look after the subscriptions, and after whether the tracker answers, until cancelled."""
        while True:
            await self._look()
            self._news.clear()
            with contextlib.suppress(asyncio.TimeoutError):
                # without viewers nothing changes until one comes
                resting = not self._viewers and not self._listening
                await asyncio.wait_for(self._news.wait(), None if resting else _LOOK_EVERY)

    def watch(self, viewer: Viewer, camera: str | None) -> None:
        """Show a viewer another camera. Raises BadRequest for a camera that there is not."""
        if camera is not None and camera not in self._feeds:
            raise requests.BadRequest(f"there is no camera '{camera}'")
        viewer.watch(camera)
        self._news.set()

    async def ask(self, viewer: Viewer, request: Any) -> None:
        """Pass a request on to the tracker, answer the viewer, and tell the others."""
        if isinstance(request, requests.Start) and request.camera not in self._feeds:
            raise requests.BadRequest(f"there is no camera '{request.camera}'")
        try:
            success, message, target_id = await self._pass_on(request)
        except NoAnswer as reason:
            success, message, target_id = False, str(reason), ""
        viewer.tell(
            {
                "type": "reply",
                "number": request.number,
                "success": success,
                "message": message,
                "target_id": target_id,
            }
        )
        if not success:
            return
        if isinstance(request, requests.Enable):
            self._disabled_at = None if request.on else time.monotonic()
            self._tell_state()
        for other in self._viewers:
            if other is not viewer:
                other.tell({"type": "event", "by": viewer.number, "message": message})

    async def _pass_on(self, request: Any) -> Answer:
        """Ask the tracker for what a viewer wants. Raises NoAnswer."""
        if isinstance(request, requests.Start):
            return await self._tracker.start(request.box, request.stamp, request.camera, request.target_id)
        if isinstance(request, requests.Remove):
            return await self._tracker.remove(request.target_id)
        if isinstance(request, requests.MakePrimary):
            return await self._tracker.make_primary(request.target_id)
        if isinstance(request, requests.Enable):
            return await self._tracker.enable(request.on)
        assert isinstance(request, requests.Reset)
        return await self._tracker.reset()

    # --- what is subscribed to ---

    @property
    def _listening(self) -> bool:
        return bool(self._viewers) or time.monotonic() - self._left < _LINGER

    @property
    def _reporting(self) -> bool:
        return time.monotonic() - self._last_status <= _REPORTING

    async def _look(self) -> None:
        listening = self._listening
        if not listening:
            self._memory.clear()
        self._tracker.listen(listening)
        # its cameras must be asked for even where its status has already come
        if listening and not (self._tracker.parameters and self._reporting):
            self._reachable = await self._tracker.greet() or self._reporting
        cameras = [str(name) for name in self._tracker.parameters.get("cameras") or [""]]
        if self._tracker.parameters:
            for name in cameras:
                if name not in self._feeds:
                    self._feeds[name] = Feed(self._node, name, self._settings, self._wanted, self._show_from_executor)
        # pictures go on while a page is loaded anew
        watched = {viewer.camera for viewer in self._viewers}
        for name, feed in self._feeds.items():
            feed.watch(name in watched)
        if listening:
            self._tell_state()

    def _wanted(self, camera: str) -> bool:
        """Return whether a viewer can take a picture of this camera now. Called by the executor."""
        return any(viewer.camera == camera and viewer.ready for viewer in tuple(self._viewers))

    def _show_from_executor(self, picture: Picture) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._show, picture)

    def _show(self, picture: Picture) -> None:
        for viewer in self._viewers:
            viewer.show(picture)

    def _on_status(self, message: TrackStatusArray) -> None:
        """Take a status, in the executor's thread; its message for browsers goes ahead of the picture."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._tell_status, message)
        # a silent camera's status repeats an old header
        if (feed := self._feeds.get(message.camera)) is not None and not message.camera_silent:
            feed.report(nanoseconds(message.header.stamp), bool(message.targets))

    def _tell_status(self, message: TrackStatusArray) -> None:
        self._last_status, self._reachable = time.monotonic(), True
        if self._disabled_at is not None and self._last_status - self._disabled_at > _STRAGGLERS:
            self._disabled_at = None  # somebody else switched it on, or the tracker was started again
        text = json.dumps(self._memory.status(message))
        for viewer in self._viewers:
            viewer.tell(text)

    # --- what is said of the tracker ---

    def _state(self) -> dict[str, Any]:
        tracker = self._tracker
        return {
            "type": "state",
            "tracker": tracker.name,
            "reachable": self._reachable,
            "reporting": self._reporting,
            "enabled": self._disabled_at is None,
            "buffer_seconds": float(tracker.parameters.get("buffer_seconds") or 0.0),
            "details": dict(tracker.details),
            "cameras": [
                {"name": name, "topic": feed.transport, "failure": feed.failure} for name, feed in self._feeds.items()
            ],
            "viewers": len(self._viewers),
        }

    def _tell_state(self) -> None:
        """Tell all viewers the state if it has changed."""
        text = json.dumps(self._state())
        if text != self._told:
            self._told = text
            for viewer in self._viewers:
                viewer.tell(text)

    def _count(self) -> None:
        self._news.set()
        self._tell_state()
