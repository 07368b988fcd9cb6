# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes a video of the frames with the target's box drawn, and checks that it can be played."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..crops import Frame

DEFAULT_FPS = 30.0
_COLOUR = (0, 220, 255)


class VideoOutput:
    """Writes frames of the first one's size to an MP4 file; a context manager.

    path: the file. It appears at the end, also where an error or a signal ended the frames. If it can't be written
    whole, what was there before stays.
    fps: frames a second; None for `DEFAULT_FPS`.

    Raises ValueError if OpenCV can't write such a video, and OSError at the end if it is incomplete.
    """

    def __init__(self, path: Path, fps: float | None) -> None:
        self._path, self._fps = path, fps or DEFAULT_FPS
        self._part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self.written = 0
        self.scaled = 0

    def __enter__(self) -> VideoOutput:
        return self

    def write(self, frame: Frame, box: Sequence[float], label: str) -> None:
        """Adds a frame (H x W x 3 uint8 BGR) with its box (x, y, w, h) and a label.

        A frame of another size than the first is scaled to fit, with black borders, and counted in ``scaled``.
        """
        if self._writer is None:
            self._size = frame.shape[1], frame.shape[0]
            self._writer = cv2.VideoWriter(str(self._part), cv2.VideoWriter.fourcc(*"mp4v"), self._fps, self._size)
            if not self._writer.isOpened():
                raise ValueError(f"{self._path} can't be written as a video of {self._fps:g} frames a second")
        drawn = _drawn(frame, box, label)
        if (frame.shape[1], frame.shape[0]) != self._size:
            drawn = _fitted(drawn, *self._size)
            self.scaled += 1
        self._writer.write(drawn)
        self.written += 1

    def __exit__(self, *_: object) -> None:
        try:
            if self._writer is not None:
                self._writer.release()
                if self._frames_in_file():
                    self._part.replace(self._path)
        finally:
            self._part.unlink(missing_ok=True)

    def _frames_in_file(self) -> int:
        """Reads the number of frames back: OpenCV reports no error where the disk is full.

        A signal between writing a frame and counting it leaves one more than was counted.

        Raises OSError if there are fewer than were written.
        """
        video = cv2.VideoCapture(str(self._part))
        found = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
        video.release()
        if found < self.written:
            reason = f"the video is incomplete: {found} of {self.written} frames could be written. Is the disk full?"
            raise OSError(errno.EIO, reason, os.fspath(self._path))
        return found


def _drawn(frame: Frame, box: Sequence[float], label: str) -> Frame:
    canvas = frame.copy()
    x, y, w, h = (round(value) for value in box)
    cv2.rectangle(canvas, (x, y), (x + w, y + h), _COLOUR, 2)
    cv2.putText(canvas, label, (x, max(12, y - 4)), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _COLOUR, 1, cv2.LINE_AA)
    return canvas


def _fitted(frame: Frame, width: int, height: int) -> Frame:
    """Scales a frame as a whole into another size, in the middle of a black one."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    w, h = (max(1, round(side * scale)) for side in (frame.shape[1], frame.shape[0]))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - w) // 2, (height - h) // 2
    canvas[top : top + h, left : left + w] = cv2.resize(frame, (w, h), interpolation=cv2.INTER_AREA)
    return canvas
