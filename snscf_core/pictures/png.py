# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the chunks of PNG files and checks that they are whole."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

START = b"\x89PNG\r\n\x1a\n"
_HEADER, _END, _COLOURS = b"IHDR", b"IEND", b"PLTE"
_OF_PALETTE = 3  # type of colour
_WITHOUT_DATA = 12  # bytes: length, name, checksum


def png_size(data: bytes) -> tuple[int, int]:
    """Returns width and height of a PNG. Raises ValueError if it is cut off."""
    if len(data) < 33 or data[12:16] != _HEADER or _END not in data[-4096:]:
        raise ValueError(f"PNG is cut off after {len(data)} bytes")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def check_png(data: bytes) -> None:
    """Raises ValueError if a PNG is cut off, or the checksum of a chunk that its pixels depend on is wrong."""
    for name, begin, end in _chunks(data):
        # chunks whose name begins with a small letter hold remarks
        if name[:1].isupper() and zlib.crc32(data[begin - 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise ValueError(f"PNG is damaged: the checksum of {name.decode('latin-1')} at byte {begin - 8} is wrong")
        if name == _END:
            return
    raise ValueError(f"PNG is cut off after {len(data)} bytes")


def png_palette(data: bytes) -> npt.NDArray[np.uint8] | None:
    """Returns the N x 3 palette (red, green, blue) of a PNG; None for files without a palette."""
    if not data.startswith(START) or len(data) < 33 or data[25] != _OF_PALETTE:
        return None
    for name, begin, end in _chunks(data):
        if name == _COLOURS:
            return np.frombuffer(data[begin : begin + (end - begin) // 3 * 3], np.uint8).reshape(-1, 3)
    return None


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yields name, begin and end of the content of each whole chunk."""
    at = len(START)
    while (end := at + 8 + int.from_bytes(data[at : at + 4], "big")) + 4 <= len(data):
        yield data[at + 4 : at + 8], at + 8, end
        at += end - at - 8 + _WITHOUT_DATA
