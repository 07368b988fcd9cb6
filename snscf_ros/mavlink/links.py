# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Carries bytes over UDP or a serial line, and opens the link again when it goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

from snscf_ros.mavlink.connection import Connection

# whom bytes come from: the address of a UDP peer of a server; empty on a link that has only one other end
Address: TypeAlias = "tuple[Any, ...]"
Receive: TypeAlias = "Callable[[bytes, Address], None]"

_OPEN_AGAIN = 1.0  # s
_MOST_WAITING = 65536  # bytes that may wait to be sent; more are dropped, because late messages help nobody


class Link(Protocol):
    """Carries bytes. Methods are called in the event loop's thread."""

    async def open(self) -> None:
        """Open the link. Raises OSError."""

    async def closed(self) -> str:
        """Wait until the link has gone away; return why."""

    def send(self, data: bytes, address: Address) -> None:
        """Send one packet, or drop it where that cannot be done now."""

    def close(self) -> None:
        """Close the link."""


class UdpLink(asyncio.DatagramProtocol):
    """Carries datagrams to one address (client), or to and from whoever sends to ours (server)."""

    def __init__(self, connection: Connection, receive: Receive) -> None:
        self._connection, self._receive = connection, receive
        self._transport: Any = None  # asyncio.DatagramTransport, whose declaration lacks get_write_buffer_size
        self._gone: asyncio.Future[str] | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._gone = loop.create_future()
        end = (self._connection.place, self._connection.number)
        if self._connection.kind == "udpin":
            await loop.create_datagram_endpoint(lambda: self, local_addr=end)
        else:
            await loop.create_datagram_endpoint(lambda: self, remote_addr=end)

    async def closed(self) -> str:
        assert self._gone is not None
        return await self._gone

    def send(self, data: bytes, address: Address) -> None:
        if self._transport is not None and self._transport.get_write_buffer_size() < _MOST_WAITING:
            self._transport.sendto(data, address or None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self._receive(data, address if self._connection.kind == "udpin" else ())

    def error_received(self, error: Exception) -> None:
        # nobody listens there, or there is no route: it may come back, and the socket is still good
        pass

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(str(error or "it was closed"))


class SerialLink:
    """Carries bytes over a serial line."""

    def __init__(self, connection: Connection, receive: Receive) -> None:
        self._connection, self._receive = connection, receive
        self._port: Any = None
        self._gone: asyncio.Future[str] | None = None

    async def open(self) -> None:
        import serial

        # neither reading nor writing waits
        try:
            self._port = serial.Serial(
                self._connection.place, self._connection.number, timeout=0, write_timeout=0, exclusive=True
            )
        except ValueError as error:  # a baud rate that the device does not have
            raise OSError(str(error)) from error
        loop = asyncio.get_running_loop()
        self._gone = loop.create_future()
        loop.add_reader(self._port.fileno(), self._read)

    async def closed(self) -> str:
        assert self._gone is not None
        return await self._gone

    def send(self, data: bytes, address: Address) -> None:
        if self._port is None:
            return
        try:
            self._port.write(data)
        except OSError as error:  # SerialException is one
            self._lose(str(error))

    def close(self) -> None:
        self._lose("it was closed")

    def _read(self) -> None:
        try:
            data = self._port.read(4096)
        except OSError as error:
            self._lose(str(error))
            return
        if data:
            self._receive(data, ())

    def _lose(self, reason: str) -> None:
        if self._port is None:
            return
        port, self._port = self._port, None
        asyncio.get_running_loop().remove_reader(port.fileno())
        port.close()
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(reason)


def make(connection: Connection, receive: Receive) -> Link:
    """Make the link, not yet open. receive: called with what comes, and from whom."""
    return SerialLink(connection, receive) if connection.kind == "serial" else UdpLink(connection, receive)


async def keep_open(link: Link, name: str, say: Callable[[str], None]) -> None:
    """Open the link, and open it again when it goes away, until cancelled.

    say: called with what is to be logged.
    Raises OSError if a UDP server's own address cannot be had at the start: waiting would not help.
    """
    first, failure = True, ""
    try:
        while True:
            try:
                await link.open()
            except OSError as error:
                if first and name.startswith("udpin"):
                    raise
                if str(error) != failure:
                    failure = str(error)
                    say(f"cannot open {name}: {failure}; trying again every {_OPEN_AGAIN:g} s")
            else:
                failure = ""
                if not first:
                    say(f"{name} is open")
                say(f"{name} has gone away: {await link.closed()}")
            first = False
            await asyncio.sleep(_OPEN_AGAIN)
    finally:
        link.close()
