# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes what a demonstration leaves behind: a video with the boxes drawn in, a contact sheet, and scores."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from snscf_core.files import write_file
from snscf_ros.demo.pictures import annotated, contact_sheet
from snscf_ros.demo.scores import DemoScores, FrameResult, summarise
from snscf_ros.images import Frame
from snscf_ros.stamps import seconds_text

# MPEG-4 Part 2: the one codec for .mp4 that OpenCV's wheels encode in real time; VLC, mpv, QuickTime and ffmpeg play it
_CODEC = "mp4v"
_VIDEO_WIDTH = 480  # pixels; narrower frames are enlarged, so that lines and text stay readable
_MOST_TILES = 16  # on the contact sheet


class Report:
    """Takes the frames of a run in order, and writes `overlay.mp4`, `contact_sheet.png`, `scores.json`, `scores.txt`.

    rate: frames per second of the video.
    length: how many frames are expected; None if unknown.
    """

    def __init__(self, folder: Path, rate: float, length: int | None = None) -> None:
        self._folder = folder
        self._rate = rate
        self._length = length
        self._video: cv2.VideoWriter | None = None
        self._video_size = (0, 0)
        self._shots = _Spread(8 * _MOST_TILES)
        self.size = (0, 0)
        self.results: list[FrameResult] = []

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Draw one frame into the video. Raises OSError if the video can't be written."""
        if self._video is None:
            height, width = frame.shape[:2]
            self.size = (width, height)
            enlarged = max(1, math.ceil(_VIDEO_WIDTH / width))
            # The codec stores colour for blocks of 2 x 2.
            self._video_size = (width * enlarged // 2 * 2, height * enlarged // 2 * 2)
            path = self._folder / "overlay.mp4"
            self._video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODEC), self._rate, self._video_size)
            if not self._video.isOpened():
                raise OSError(f"{path} can't be written: this OpenCV has no encoder for {_CODEC}")
        self._video.write(annotated(frame, result, self._video_size, self._length))
        self._shots.add(frame, result)
        self.results.append(result)

    def recent_rate(self) -> float:
        """Return the frames tracked per second, over the last 30 frames."""
        recent = self.results[-30:]
        seconds = (recent[-1].stamp - recent[0].stamp) * 1e-9 if recent else 0.0
        return sum(not result.dropped for result in recent[1:]) / seconds if seconds > 0 else 0.0

    def close(self, source: str, tracker: str) -> DemoScores | None:
        """Finish all files and return the scores; None, and no scores, if there was no frame."""
        if self._video is None:
            return None
        self._video.release()
        summary = summarise(self.results, source, tracker, self.size)
        _write_image(self._folder / "contact_sheet.png", contact_sheet(self._shots.evenly(_MOST_TILES), summary))
        details = {**asdict(summary), "frames": [_row(result) for result in self.results]}
        write_file(self._folder / "scores.json", json.dumps(details, indent=1) + "\n")
        write_file(self._folder / "scores.txt", summary.table() + "\n")
        return summary


class _Spread:
    """Keeps evenly spread frames of a stream of unknown length, as JPEG because a long video would fill the memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1
        self._count = 0
        self._kept: list[tuple[Frame, FrameResult]] = []
        self._last: tuple[Frame, FrameResult] | None = None

    def add(self, frame: Frame, result: FrameResult) -> None:
        self._last = (frame, result)
        if self._count % self._every == 0:
            _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
            self._kept.append((np.asarray(encoded, np.uint8), result))
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._every *= 2
        self._count += 1

    def evenly(self, count: int) -> list[tuple[Frame, FrameResult]]:
        """Return up to `count` frames from the first to the last."""
        assert self._last is not None
        before = [item for item in self._kept if item[1] is not self._last[1]]
        chosen = np.unique(np.linspace(0, len(before), min(count, len(before) + 1)).round().astype(int))[:-1]
        shots = [(cv2.imdecode(before[index][0], cv2.IMREAD_COLOR), before[index][1]) for index in chosen]
        return [*((np.asarray(frame, np.uint8), result) for frame, result in shots), self._last]


def _row(result: FrameResult) -> dict[str, Any]:
    track = result.track
    return {
        "number": result.number,
        "stamp": seconds_text(result.stamp),
        "truth": result.truth,
        "box": track.box if track else None,
        "score": track.score if track else None,
        "state": track.state.name.lower() if track else None,
        "overlap": result.overlap,
        "dropped": result.dropped,
        "latency": result.latency,
    }


def _write_image(path: Path, picture: Frame) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} can't be written")
