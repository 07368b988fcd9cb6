# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes TIFF files show their pixels as stored: OpenCV has no flag against the orientation that they may ask for."""

from __future__ import annotations

_ORDERS = {b"II*\x00": "little", b"MM\x00*": "big"}
_ORIENTATION, _SHORT = 274, 3
_ENTRY = 12  # bytes


def is_tiff(data: bytes) -> bool:
    """Tells whether data begin as a TIFF file does."""
    return data[:4] in _ORDERS


def without_orientation(data: bytes) -> bytes:
    """Returns a TIFF file whose first picture asks for no rotation."""
    order = _ORDERS[data[:4]]

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    for entry in range(number(directory, 2)):
        at = directory + 2 + entry * _ENTRY
        if at + _ENTRY > len(data):
            break
        if number(at, 2) == _ORIENTATION and number(at + 2, 2) == _SHORT:
            return data[: at + 8] + (1).to_bytes(2, order) + data[at + 10 :]  # type: ignore[arg-type]
    return data
