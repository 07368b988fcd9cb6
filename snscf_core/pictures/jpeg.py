# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decodes JPEG files, and refuses those whose pixels damage has changed.

The evidence, in the order in which it is taken: the headers, the warnings of libjpeg, and the seam that a changed bit
leaves where libjpeg finds nothing wrong. libjpeg goes on after a warning, and OpenCV hides the warning. simplejpeg,
which wraps the same library, raises an error for it. Without simplejpeg the warnings are missing.
"""

from __future__ import annotations

import logging
import re
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from ..requirements import missing
from .seams import has_seam

try:
    import simplejpeg
except ImportError:  # OpenCV decodes then, and notices less; a warning says so once
    simplejpeg = None

START = b"\xff\xd8"
_END = b"\xff\xd9"
_SCAN, _QUANTISATION = 0xDA, 0xDB
# the start-of-frame markers C0..CF hold the size, except the tables C4 (Huffman), C8 (JPG) and CC (arithmetic)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
_MOST_SEGMENTS = 1024
# Some cameras put a few bytes before a marker, and pad to a multiple of their word. What damage leaves over is longer.
_MOST_STRAY = 16
_MOST_REPAIRS = 16
_STRAY = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
_UNUSUAL_SAMPLING = "Could not determine subsampling"

_log = logging.getLogger(__name__)
_warned: list[bool] = []


class JpegHeader(NamedTuple):
    """Holds what the headers before the first scan say.

    components: 1 for grey, 3 for colours, 4 for CMYK
    block: width and height in pixels of what is coded together
    stray: (begin, end) of bytes between headers that belong to none
    """

    width: int
    height: int
    components: int
    block: tuple[int, int]
    stray: tuple[tuple[int, int], ...]


def read_header(data: bytes) -> JpegHeader:
    """Reads the headers of a JPEG up to its first scan. Raises ValueError if they are damaged or cut off."""
    found: tuple[int, int, int, tuple[int, int]] | None = None
    stray, position = [], 2
    for _ in range(_MOST_SEGMENTS):
        begin = position
        position = data.find(b"\xff", begin)
        if position < 0 or position + 9 > len(data):
            break
        if position > begin:
            stray.append((begin, position))
        marker = data[position + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            position += 1 if marker == 0xFF else 2
            continue
        if marker == 0:  # a stray byte FF
            stray.append((position, position + 2))
            position += 2
            continue
        if marker == _SCAN and found:
            if data.rfind(_END) < position:
                break
            return JpegHeader(*found, tuple(stray))
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker in _FRAMES:
            found = _frame(data[position + 4 : end])
        elif marker == _QUANTISATION:
            _check_quantisation(data[position + 4 : end])
        position = end
    raise ValueError(f"JPEG is damaged or cut off after {len(data)} bytes")


def decode_jpeg(data: bytes, *, as_stored: bool = False) -> npt.NDArray[np.uint8]:
    """Decodes a JPEG to H x W x 3 BGR without the rotation that EXIF may ask for.

    as_stored: return a grey picture as H x W.

    Raises ValueError if it can't be decoded, or where its pixels are damaged. A few stray bytes before a marker damage
    none.
    """
    header = read_header(data)
    for begin, end in reversed(header.stray):
        data = data[:begin] + data[end:]
    grey = as_stored and header.components == 1
    image = _by_opencv(data, grey) if simplejpeg is None else _strictly(data, grey)
    if image is None:
        raise ValueError(f"JPEG of {len(data)} bytes can't be decoded")
    if has_seam(image, *header.block):
        raise ValueError("JPEG is damaged: brightness or colour jump along a seam of its blocks")
    return image


def _frame(segment: bytes) -> tuple[int, int, int, tuple[int, int]]:
    """Returns width, height, number of components and the block's size from a start-of-frame segment."""
    count = segment[5] if len(segment) > 5 else 0
    if not count or len(segment) < 6 + 3 * count:
        raise ValueError("JPEG is damaged: its frame header is too short")
    height, width = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
    factors = [segment[7 + 3 * index] for index in range(count)]
    # a picture of one component is coded block by block, whatever its factors say
    across, down = (1, 1) if count == 1 else (max(f >> 4 for f in factors), max(f & 15 for f in factors))
    if not 1 <= across <= 4 or not 1 <= down <= 4:
        raise ValueError(f"JPEG is damaged: its sampling factors are {across} x {down}")
    return width, height, count, (8 * across, 8 * down)


def _check_quantisation(segment: bytes) -> None:
    position = 0
    while position < len(segment):
        size = 128 if segment[position] >> 4 else 64
        steps = np.frombuffer(segment[position + 1 : position + 1 + size], ">u2" if size == 128 else np.uint8)
        if len(steps) < 64 or not steps.all():
            raise ValueError("JPEG is damaged: a quantisation table is cut off or holds 0")
        position += 1 + size


def _strictly(data: bytes, grey: bool) -> Any:
    """Decodes with simplejpeg. Raises ValueError for any warning of libjpeg but a few stray bytes before a marker."""
    candidates = [data]
    for _ in range(_MOST_REPAIRS):
        if not candidates:
            break
        data = candidates.pop()
        try:
            image = simplejpeg.decode_jpeg(data, "GRAY" if grey else "BGR", strict=True)
            return image[:, :, 0] if grey else image
        except ValueError as error:
            reason = str(error)
            if _UNUSUAL_SAMPLING in reason:
                return _by_opencv(data, grey)
            if stray := _STRAY.search(reason):
                # the scan may hold this marker more than once
                candidates = _without_stray(data, int(stray[1]), int(stray[2], 16)) or candidates
    raise ValueError(f"JPEG is damaged: {reason.removeprefix('Corrupt JPEG data: ')}")


def _without_stray(data: bytes, count: int, marker: int) -> list[bytes]:
    """Returns the JPEG without the stray bytes before a marker: one version for each place where it may stand."""
    found: list[bytes] = []
    position = data.find(bytes([0xFF, marker]))
    while position >= 0 and len(found) < _MOST_REPAIRS:
        begin = position
        while data[begin - 1] == 0xFF:  # fill bytes belong to the marker
            begin -= 1
        stray = data[max(begin - count, 0) : begin]
        if count <= _MOST_STRAY or len(set(stray)) == 1:
            found.append(data[: begin - count] + data[begin:])
        position = data.find(bytes([0xFF, marker]), position + 2)
    return found[::-1]


def _by_opencv(data: bytes, grey: bool) -> Any:
    if simplejpeg is None and not _warned:
        _warned.append(True)
        _log.warning("%s; without it many damaged JPEGs are taken for good ones", missing("simplejpeg"))
    kind = cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), kind | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return None
