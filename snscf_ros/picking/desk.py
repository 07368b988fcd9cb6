# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Shows one frame in the operator's page, in place of cameras and a tracker, and takes the box that is drawn on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import cv2

from snscf_core.boxes import check_box
from snscf_ros.messages import Box
from snscf_ros.operator import requests
from snscf_ros.operator.pictures import Picture
from snscf_ros.operator.server import PageServer
from snscf_ros.operator.settings import PageSettings, default_parameters
from snscf_ros.operator.viewer import Viewer
from snscf_ros.picking.sources import ChosenFrame

_FAREWELL = 0.5  # s in which the browser gets the answer
_QUALITY = 92  # of the JPEG; fine edges should be seen


class Desk:
    """Stands in for an `Audience` with one frame. `picked` gets the first box that is drawn."""

    def __init__(self, name: str, chosen: ChosenFrame) -> None:
        """Prepare to show a frame. name: of the video or recording, for the page."""
        self.picked: asyncio.Future[Box] = asyncio.get_running_loop().create_future()
        self._name, self._chosen = name, chosen
        self._size = chosen.pixels.shape[1], chosen.pixels.shape[0]
        encoded = cv2.imencode(".jpg", chosen.pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        self._picture = Picture("", chosen.stamp or 0, self._size, encoded.tobytes())
        self._viewers: list[Viewer] = []
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._viewers)

    def next_number(self) -> int:
        """Return the number of the next viewer."""
        self._numbers += 1
        return self._numbers

    def enter(self, viewer: Viewer) -> None:
        """Add a viewer and tell it what there is."""
        self._viewers.append(viewer)
        viewer.tell({"type": "hello", "you": viewer.number})
        viewer.tell(self._state())

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._viewers.remove(viewer)

    def watch(self, viewer: Viewer, camera: str | None) -> None:
        """Show the frame to a viewer whose page is in the foreground."""
        viewer.watch(camera)
        viewer.show(self._picture)

    async def ask(self, viewer: Viewer, request: requests.Request) -> None:
        """Take a box; refuse everything else, and boxes that no tracker would start on."""
        if isinstance(request, requests.Watch | requests.Acknowledge):
            return
        success, message = False, "there is only a picture here: draw a box on it"
        if isinstance(request, requests.Start):
            try:
                box = check_box(request.box, *self._size)
                success, message = True, f"picked {self._chosen.text(box)}: this page can be closed"
            except ValueError as reason:
                message = str(reason)
        viewer.tell(
            {"type": "reply", "number": request.number, "success": success, "message": message, "target_id": ""}
        )
        if success and not self.picked.done():
            self.picked.set_result(box)

    def _state(self) -> dict[str, Any]:
        return {
            "type": "state",
            "tracker": self._name,
            "still": True,
            "reachable": True,
            "reporting": True,
            "enabled": True,
            "buffer_seconds": 0.0,
            "details": {},
            "cameras": [{"name": "", "topic": self._name, "failure": ""}],
            "viewers": len(self._viewers),
        }


async def serve(name: str, chosen: ChosenFrame, port: int, opened: Callable[[str], None]) -> Box:
    """Serve the page on this machine until a box is drawn, and return the box (x, y, w, h).

    port: 0 for any that is free.
    opened: called with the address once the page is there.
    Raises OSError if the port is in use.
    """
    values = {**default_parameters(), "host": "127.0.0.1", "port": port, "allowed_hosts": ()}
    desk = Desk(name, chosen)
    server = PageServer(PageSettings(**values), desk, token="")
    opened(await server.start())
    try:
        box = await desk.picked
        await asyncio.sleep(_FAREWELL)
        return box
    finally:
        await server.close()
