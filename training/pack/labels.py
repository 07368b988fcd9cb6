# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads our own labels: boxes of a target in the frames of a public video, kept in a file apart from its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from snscf_core.boxes import Array
from snscf_core.crops import Frame
from snscf_core.data.images import read_image
from snscf_core.pictures.video import open_capture

from .snapshots import Snapshot
from .sources import Report, load_list


@dataclass(frozen=True)
class Label:
    """Holds the boxes of one target in a video, or in a folder of pictures.

    path: the video, or a pattern that matches the pictures.
    size: width and height of a frame in pixels.
    kind: who made the boxes.
    frames: numbers of the labelled frames, from 0.
    boxes: N x 4 (x, y, w, h) in pixels; NaN where the target is absent.
    marks: words for the index.
    """

    repository: str
    path: str
    size: tuple[int, int]
    licence: str
    target: str
    kind: str
    frames: tuple[int, ...]
    boxes: Array
    marks: tuple[str, ...]


def load_labels(file: Path) -> list[Label]:
    """Reads a labels file; training/README.md describes its keys.

    Raises OSError, or ValueError that names the entry and what is wrong with it.
    """
    labels = []
    for number, entry in enumerate(load_list(file)):
        try:
            labels.append(_label(entry))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{file}, entry {number}: {error!r}") from error
    return labels


def read_frames(path: str, snapshot: Snapshot, wanted: set[int], report: Report) -> Iterator[tuple[int, Frame]]:
    """Yields the number and the picture of each wanted frame, in order. Raises OSError if there is no such video."""
    read = _read_pictures if "*" in path or "?" in path else _read_video
    yield from read(path, snapshot, wanted, report)


def _read_pictures(pattern: str, snapshot: Snapshot, wanted: set[int], report: Report) -> Iterator[tuple[int, Frame]]:
    names = snapshot.matching(pattern)
    if not names:
        raise FileNotFoundError(f"the snapshot has no {pattern}")
    for number, name in enumerate(names):
        if number in wanted:
            try:
                yield number, read_image(snapshot.file(name))
            except (OSError, ValueError) as error:
                report(name, str(error))


def _read_video(path: str, snapshot: Snapshot, wanted: set[int], report: Report) -> Iterator[tuple[int, Frame]]:
    with open_video(path, snapshot) as video:
        for number in range(max(wanted) + 1):
            if not video.grab():
                # a hole, if the video is longer by its own account
                if number + 1 < int(video.get(cv2.CAP_PROP_FRAME_COUNT)):
                    if number in wanted:
                        report(path, f"frame {number} can't be decoded")
                    continue
                report(path, f"the video ends before frame {number}")
                return
            if number in wanted:
                readable, picture = video.retrieve()
                if readable:
                    yield number, picture
                else:
                    report(path, f"frame {number} can't be decoded")


@contextmanager
def open_video(path: str, snapshot: Snapshot) -> Iterator[cv2.VideoCapture]:
    """Opens a video of the snapshot inside the ``with`` block. Raises OSError if it can't be read as one."""
    video = open_capture(snapshot.file(path))
    try:
        if not video.isOpened():
            raise OSError(f"{path} can't be read as a video")
        yield video
    finally:
        video.release()


def _label(entry: Any) -> Label:
    boxes = np.array([[np.nan] * 4 if box is None else box for box in entry["boxes"]], np.float64)
    frames = tuple(int(number) for number in entry["frames"])
    width, height = entry["size"]
    if boxes.shape != (len(frames), 4) or not frames:
        raise ValueError(f"{len(frames)} frames have boxes of shape {boxes.shape}")
    if sorted(set(frames)) != list(frames) or frames[0] < 0:
        raise ValueError("the frames' numbers don't ascend from 0")
    marks = [*filter(None, [entry.get("hard")]), *entry.get("marks", ())]
    if entry.get("moving_camera"):
        marks.append("moving_camera")
    if np.isnan(boxes).any():
        marks.append("absent")
    return Label(
        str(entry["repository"]),
        str(entry["path"]),
        (int(width), int(height)),
        str(entry["licence"]),
        str(entry["target"]),
        str(entry["kind"]),
        frames,
        boxes,
        tuple(dict.fromkeys(marks)),
    )
