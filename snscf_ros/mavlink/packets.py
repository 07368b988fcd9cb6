# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes MAVLink messages from bytes, whatever they are, and bytes from messages. pymavlink does the work."""

from __future__ import annotations

from typing import Any

from pymavlink.dialects.v20 import common as dialect

_LARGEST_PACKET = 280  # bytes, of MAVLink 2 with its signature


class Packets:
    """Reads and writes the packets of one component.

    unreadable: how many packets, or stretches between packets, could not be read.
    """

    def __init__(self, system: int, component: int) -> None:
        self.unreadable = 0
        self._system, self._component = system, component
        self._writer = dialect.MAVLink(None, srcSystem=system, srcComponent=component)
        self._stream = self._reader()

    def read_datagram(self, data: bytes) -> list[Any]:
        """Return the messages in a datagram, which holds whole packets: what is cut off spoils no other datagram."""
        return self._read(self._reader(), data)

    def read_stream(self, data: bytes) -> list[Any]:
        """Return the messages that are complete with these bytes of a stream."""
        messages = self._read(self._stream, data)
        if self._stream.buf_len() > _LARGEST_PACKET:
            self._stream = self._reader()  # it failed in the middle of a packet
        return messages

    def write(self, message: Any) -> bytes:
        """Return the packet of a message, with the next sequence number."""
        packet: bytes = message.pack(self._writer)
        self._writer.seq = (self._writer.seq + 1) % 256
        return packet

    def _reader(self) -> Any:
        reader = dialect.MAVLink(None, srcSystem=self._system, srcComponent=self._component)
        reader.robust_parsing = True
        return reader

    def _read(self, reader: Any, data: bytes) -> list[Any]:
        messages: list[Any] = []
        left = -1
        while True:
            try:
                message = reader.parse_char(data)
            except Exception:  # it has taken the packet out before it fails on it, so reading goes on behind it
                self.unreadable += 1
                if reader.buf_len() == left:
                    return messages
                left, data = reader.buf_len(), b""
                continue
            data = b""
            if message is None:
                return messages
            if message.get_msgId() < 0:
                self.unreadable += 1
            else:
                messages.append(message)
