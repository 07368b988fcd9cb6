# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds clips in a snapshot (videos and folders of pictures), and stretches of them without a cut."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np

from snscf_core.crops import Frame

from .labels import open_video, read_frames
from .snapshots import Snapshot, natural
from .sources import Report

VIDEOS = {".mp4", ".avi", ".mkv", ".mov", ".webm", ".mpg", ".gif"}
LONGEST_SIDE = 640  # pixels of a frame, to which boxes refer
LENGTH = 120  # most pictures of a stretch
SHORTEST = 16  # fewest pictures of a shot
# Thumbnails on both sides of a cut have less than this share of common colours, and more than this mean difference.
CUT_COLOURS, CUT_PIXELS = 0.55, 24.0


@dataclass(frozen=True)
class Shot:
    """Holds pictures without a cut between them. numbers: of the frames in the clip, from 0, evenly spaced."""

    numbers: list[int]
    pictures: list[Frame]


def find_clips(snapshot: Snapshot, pattern: str) -> list[str]:
    """Returns the clips that match a pattern: paths of videos, or patterns of the pictures in a folder.

    ``**`` stands for any folders; * and ? stay within one. Names are in natural order.
    """
    if "**" in pattern:
        names = sorted(fnmatch.filter(snapshot.names, pattern.replace("**/", "*")), key=natural)
    else:
        names = snapshot.matching(pattern)
    if PurePosixPath(pattern).suffix.lower() in VIDEOS:
        return names
    last = PurePosixPath(pattern).name
    return list(dict.fromkeys(str(PurePosixPath(name).parent / last) for name in names))


def count_frames(snapshot: Snapshot, path: str) -> int:
    """Returns the number of frames that a clip claims to have. Raises OSError if it can't be read."""
    if "*" in path or "?" in path:
        return len(snapshot.matching(path))
    with open_video(path, snapshot) as video:
        return int(video.get(cv2.CAP_PROP_FRAME_COUNT))


def read_shots(snapshot: Snapshot, path: str, stretches: int, report: Report) -> Iterator[Shot]:
    """Yields shots from evenly spaced stretches of a clip, in order, with pictures of ``LONGEST_SIDE`` at most.

    Long clips are read at every second frame. Raises OSError if the clip can't be read.
    """
    count = count_frames(snapshot, path)
    step = 2 if count >= 2 * LENGTH else 1
    length = min(LENGTH * step, count)
    number = max(1, min(stretches, count // length)) if length else 0
    starts = np.linspace(0, count - length, number).astype(int) if number > 1 else np.array([(count - length) // 2])
    wanted = {frame: index for index, start in enumerate(starts) for frame in range(start, start + length, step)}
    shot = Shot([], [])
    stretch = -1
    last: Frame | None = None  # the previous thumbnail
    size = (0, 0)
    for frame, picture in read_frames(path, snapshot, set(wanted), report):
        small = _reduced(picture)
        thumbnail = cv2.resize(small, (32, 32), interpolation=cv2.INTER_AREA)
        new = last is None or wanted[frame] != stretch or small.shape[:2] != size
        if new or (last is not None and is_cut(last, thumbnail)):
            if len(shot.numbers) >= SHORTEST:
                yield shot
            shot = Shot([], [])
        shot.numbers.append(frame)
        shot.pictures.append(small)
        stretch, last, size = wanted[frame], thumbnail, small.shape[:2]
    if len(shot.numbers) >= SHORTEST:
        yield shot


def is_cut(before: Frame, after: Frame) -> bool:
    """Returns whether two thumbnails show different shots: neither their colours nor their pixels are similar."""
    histograms = [
        cv2.calcHist([thumbnail], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3) / thumbnail[..., 0].size
        for thumbnail in (before, after)
    ]
    common = float(np.minimum(*histograms).sum())
    return common < CUT_COLOURS and float(cv2.absdiff(before, after).mean()) > CUT_PIXELS


def _reduced(picture: Frame) -> Frame:
    height, width = picture.shape[:2]
    factor = LONGEST_SIDE / max(width, height)
    if factor >= 1:
        return picture
    size = round(width * factor), round(height * factor)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
