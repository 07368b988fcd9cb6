# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads videos past frames that can't be decoded, and says which those are.

Frames are as stored: the rotation that a video file may ask for is not applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeAlias

import cv2
import numpy as np

from ..crops import Frame

_MATROSKA, _SEGMENT = b"\x1aE\xdf\xa3", b"\x18S\x80g"
_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")
_MOST_FAILURES = 1000  # in a row; then there is nothing behind the hole
# AVI counts what was written; a codec may keep back a frame or two at the end.
_KEPT_BACK = 2


@dataclass(frozen=True)
class Unreadable:
    """Stands for a frame that can't be read. reason: which one, and why."""

    reason: str


Read: TypeAlias = Frame | Unreadable


class Video(NamedTuple):
    """Holds the frames of a video or folder in order, and their number and rate if those are known.

    frames: H x W x 3 uint8 BGR, or `Unreadable` in the place of a frame that can't be read
    """

    frames: Iterator[Read]
    length: int | None
    fps: float | None


def read_video(file: Path) -> Video:
    """Opens a video file. Raises FileNotFoundError, or ValueError if it can't be opened as a video."""
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist")
    cut = is_cut_off(file)
    video = open_capture(file)
    if not video.isOpened():
        raise ValueError(f"{file} can't be opened as a video{': it is cut off' if cut else ''}")
    count, fps = int(video.get(cv2.CAP_PROP_FRAME_COUNT)), float(video.get(cv2.CAP_PROP_FPS))
    # a damaged header may say anything, but every frame takes some bytes
    length = count if 0 < count <= file.stat().st_size else None
    return Video(_frames(video, file, length, cut), length, fps if np.isfinite(fps) and fps > 0 else None)


def open_capture(file: Path) -> cv2.VideoCapture:
    """Opens a video file so that frames come as stored. The caller checks `isOpened`."""
    video = cv2.VideoCapture(str(file))
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    return video


def is_cut_off(file: Path) -> bool:
    """Tells whether an AVI, MP4, MOV, Matroska or WebM file is shorter than its own parts say."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(12)
        if start[:4] == b"RIFF":
            return _riff_end(stream, size) > size
        if start[:4] == _MATROSKA:
            return _matroska_end(stream) > size
        return start[4:8] in _BOXES and _boxes_end(stream, size) > size


def _frames(video: cv2.VideoCapture, file: Path, length: int | None, cut: bool) -> Iterator[Read]:
    number = failed = 0  # failed: reads in a row, which may be a hole or the end
    try:
        while failed < (_MOST_FAILURES if length is None else min(_MOST_FAILURES, length - number)):
            readable, frame = video.read()
            if not readable:
                failed += 1
                continue
            for _ in range(failed):
                yield Unreadable(f"{file} frame {number + 1} can't be decoded")
                number += 1
            failed = 0
            yield np.asarray(frame, np.uint8)
            number += 1
    finally:
        video.release()
    missing = 0 if length is None else length - number
    if cut:
        end = f"{file} is cut off after frame {number}"
        yield from repeat(Unreadable(end), max(1, missing))
    elif missing > _KEPT_BACK and file.suffix.lower() == ".avi":
        end = f"{file} has {number} frames that can be read, but says that it has {length}"
        yield from repeat(Unreadable(end), missing)


def _riff_end(stream: BinaryIO, size: int) -> int:
    end = 0
    while end < size:
        stream.seek(end)
        head = stream.read(8)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] != b"RIFF" or not length:  # remarks behind the video, or a recorder that was killed
            break
        end += 8 + length
    return end


def _boxes_end(stream: BinaryIO, size: int) -> int:
    end = 0
    while end < size:
        stream.seek(end)
        head = stream.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8 or not head[4:8].isascii():  # 0: up to the end of the file
            return size
        end += length
    return end


def _matroska_end(stream: BinaryIO) -> int:
    stream.seek(len(_MATROSKA))
    head, _ = _vint(stream)
    stream.seek(head, 1)
    if stream.read(len(_SEGMENT)) != _SEGMENT:
        return 0
    length, known = _vint(stream)
    return stream.tell() + length if known else 0


def _vint(stream: BinaryIO) -> tuple[int, bool]:
    """Reads one of Matroska's lengths; False if it says that the length is not known."""
    first = stream.read(1)
    more = 8 - first[0].bit_length() if first and first[0] else 0
    rest = stream.read(more)
    bits = 7 * (more + 1)
    value = int.from_bytes(first + rest, "big") & ((1 << bits) - 1)
    return value, value != (1 << bits) - 1
