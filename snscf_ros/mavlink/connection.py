# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the text that says over which link MAVLink is spoken."""

from __future__ import annotations

from typing import NamedTuple

HELP = "udpout:HOST:PORT, udpin:HOST:PORT or serial:DEVICE:BAUD"
_HIGHEST_PORT = 65535
_HIGHEST_BAUD = 20_000_000


class Connection(NamedTuple):
    """Says what the link is.

    kind: udpout (to one address), udpin (whoever sends to this address) or serial.
    place: host or device.
    number: port, or baud rate.
    """

    kind: str
    place: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.place}:{self.number}"


def parse(text: str) -> Connection:
    """Read a connection. Raises ValueError, with what is wrong."""
    kind, _, rest = text.partition(":")
    place, _, number = rest.rpartition(":")
    if kind not in ("udpout", "udpin", "serial") or not place:
        raise ValueError(f"connection is '{text}', must be {HELP}")
    what, most = ("baud rate", _HIGHEST_BAUD) if kind == "serial" else ("port", _HIGHEST_PORT)
    if not (number.isascii() and number.isdecimal()) or not 1 <= int(number) <= most:
        raise ValueError(f"connection is '{text}': '{number}' is no {what} from 1 to {most}; it must be {HELP}")
    if kind != "serial" and place.startswith("[") and place.endswith("]"):
        place = place[1:-1]  # an IPv6 address
    return Connection(kind, place, int(number))
