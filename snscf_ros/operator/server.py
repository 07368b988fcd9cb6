# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Serves the page's three files, and the WebSocket over which each browser talks to the audience."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from snscf_ros.operator import requests
from snscf_ros.operator.access import Access
from snscf_ros.operator.settings import PageSettings
from snscf_ros.operator.viewer import Viewer

_FILES = Path(__file__).resolve().parent / "page"
_TYPES = {"index.html": "text/html", "page.js": "text/javascript", "page.css": "text/css"}
_HEARTBEAT = 10.0  # s; a browser that is gone is noticed after about twice this time
_MOST_ASKED = 8  # requests of one viewer that the tracker has not answered yet

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Host(Protocol):
    """Receives the viewers: an `Audience`, or a `Desk` that shows a single frame of a file."""

    def __len__(self) -> int: ...

    def next_number(self) -> int: ...

    def enter(self, viewer: Viewer) -> None: ...

    def leave(self, viewer: Viewer) -> None: ...

    def watch(self, viewer: Viewer, camera: str | None) -> None: ...

    async def ask(self, viewer: Viewer, request: requests.Request) -> None: ...


class Allowance:
    """Counts how many messages a viewer may still send. The number grows with time, up to those of two seconds."""

    def __init__(self, rate: float) -> None:
        """Begin with a full allowance. rate: messages per second."""
        self._rate, self._left, self._at = rate, 2 * rate, time.monotonic()

    def take(self) -> bool:
        """Use one message; return False if none is left."""
        now = time.monotonic()
        self._left = min(2 * self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class PageServer:
    """Serves the page until it is closed."""

    def __init__(self, settings: PageSettings, audience: Host, token: str) -> None:
        self._settings, self._audience, self._token = settings, audience, token
        self._access: Access  # made when the port is known
        self._runner: web.AppRunner | None = None
        self._sockets: set[web.WebSocketResponse] = set()

    async def start(self) -> str:
        """Listen, and return the address for a browser, with the token if there is one.

        Raises OSError if the address is in use, and ssl.SSLError or OSError for files that hold no certificate and key.
        """
        settings = self._settings
        context = None
        if settings.certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*map(os.path.expanduser, (settings.certificate, settings.key)))
        application = web.Application(middlewares=[self._guard], client_max_size=requests.LONGEST_MESSAGE)
        application.router.add_get("/", self._page)
        application.router.add_get("/{name:page\\.(?:js|css)}", self._file)
        application.router.add_get("/ws", self._websocket)
        runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, settings.host, settings.port, ssl_context=context, backlog=64).start()
        port = runner.addresses[0][1]
        self._access = Access(self._token, port, context is not None, settings.allowed_hosts)
        # nobody can open the address 0.0.0.0
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)
        if ":" in host and not host.startswith("["):
            host = f"[{host}]"
        query = f"?token={self._token}" if self._token else ""
        return f"{'https' if context else 'http'}://{host}:{port}/{query}"

    async def close(self) -> None:
        """Say good-bye to all browsers and stop listening."""
        for socket in tuple(self._sockets):
            with contextlib.suppress(Exception):
                await asyncio.wait_for(socket.close(code=WSCloseCode.GOING_AWAY, message=b"the page was closed"), 0.5)
        if self._runner is not None:
            await self._runner.cleanup()

    # --- who may come in ---

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if reason := self._access.refuses_host(request.headers.get("Host", "")):
            response: web.StreamResponse = web.Response(status=421, text=f"Refused: {reason}.\n")
        elif not self._access.admits(self._presented(request)):
            response = web.Response(
                status=401,
                text="Refused: open the address that operator_page printed when it started; it ends in the token.\n",
            )
        else:
            try:
                response = await handler(request)
            except web.HTTPException as error:
                response = web.Response(status=error.status, text=f"{error.status}: {error.reason}\n")
        if not response.prepared:
            self._protect(request, response)
        return response

    def _presented(self, request: web.Request) -> str:
        given = request.query.get("token", "") if request.path == "/" else ""
        return given or request.cookies.get(self._access.cookie, "")

    def _protect(self, request: web.Request, response: web.StreamResponse) -> None:
        """Add the headers that keep a browser from loading, running or embedding anything that is not the page's."""
        host = request.headers.get("Host", "")
        # the host is in the policy only after it was found to be ours
        sockets = f"ws://{host} wss://{host}" if not self._access.refuses_host(host) else "'none'"
        response.headers.update(
            {
                "Content-Security-Policy": (
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
                    f"connect-src {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                ),
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Referrer-Policy": "no-referrer",
                "Cross-Origin-Opener-Policy": "same-origin",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cache-Control": "no-store",
            }
        )

    # --- what there is ---

    async def _page(self, request: web.Request) -> web.Response:
        response = _file("index.html")
        if self._token and request.query.get("token"):
            response.set_cookie(
                self._access.cookie, self._token, httponly=True, samesite="Strict", secure=request.secure, path="/"
            )
        return response

    async def _file(self, request: web.Request) -> web.Response:
        return _file(request.match_info["name"])

    async def _websocket(self, request: web.Request) -> web.StreamResponse:
        if reason := self._access.refuses_origin(request.headers.get("Origin", ""), request.headers.get("Host", "")):
            return web.Response(status=403, text=f"Refused: {reason}.\n")
        # pictures are compressed already
        socket = web.WebSocketResponse(heartbeat=_HEARTBEAT, max_msg_size=requests.LONGEST_MESSAGE, compress=False)
        await socket.prepare(request)
        if len(self._audience) >= self._settings.max_viewers:
            # after the handshake, because a page does not learn why a handshake was refused
            message = f"{len(self._audience)} viewers are here already (max_viewers)"
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=message.encode())
            return socket
        self._sockets.add(socket)
        viewer = Viewer(self._audience.next_number(), socket, self._settings.rate)
        self._audience.enter(viewer)
        sending = asyncio.ensure_future(viewer.run())
        try:
            await self._receive(socket, viewer)
        finally:
            self._audience.leave(viewer)
            self._sockets.discard(socket)
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError, RuntimeError):
                await sending
        return socket

    async def _receive(self, socket: web.WebSocketResponse, viewer: Viewer) -> None:
        """Act on what a browser sends until it leaves. aiohttp closes a connection whose message is too long."""
        allowance = Allowance(self._settings.max_message_rate)
        asked: set[asyncio.Future[None]] = set()
        async for message in socket:
            if not allowance.take():
                reason = f"more than {self._settings.max_message_rate:g} messages a second"
                await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=reason.encode())
                break
            if message.type != WSMsgType.TEXT:
                viewer.tell({"type": "refused", "reason": "only texts are understood"})
                continue
            try:
                request = requests.parse(message.data)
                if isinstance(request, requests.Acknowledge):
                    viewer.acknowledge(request.frame)
                elif isinstance(request, requests.Watch):
                    self._audience.watch(viewer, request.camera)
                elif len(asked) >= _MOST_ASKED:
                    raise requests.BadRequest(f"{len(asked)} requests are still waiting for an answer")
                else:
                    task = asyncio.ensure_future(self._ask(viewer, request))
                    asked.add(task)
                    task.add_done_callback(asked.discard)
            except requests.BadRequest as error:
                viewer.tell({"type": "refused", "reason": str(error)})

    async def _ask(self, viewer: Viewer, request: requests.Request) -> None:
        try:
            await self._audience.ask(viewer, request)
        except requests.BadRequest as error:
            viewer.tell({"type": "refused", "reason": str(error)})


def _file(name: str) -> web.Response:
    return web.Response(body=(_FILES / name).read_bytes(), content_type=_TYPES[name], charset="utf-8")
