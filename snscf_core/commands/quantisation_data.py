# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Collects the network's inputs during tracking, from which 8-bit ranges are calibrated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..arrays import Array
from ..crops import Frame
from ..evaluation.sequences import read_sequence, read_sequences
from ..pictures.video import Unreadable, read_video

if TYPE_CHECKING:
    from ..online.tracker import Tracker

STEP = 3  # every third frame is kept, because neighbouring frames are nearly equal
Source = tuple[Iterable[Frame], Sequence[float]]  # frames, and the box (x, y, w, h) of a target in the first one


def sources(path: Path, box: Sequence[float] | None = None) -> list[Source]:
    """Opens a sequence in OTB's layout, a folder of such sequences, or a video file.

    box: (x, y, w, h) of a target in the first frame of a video.

    Raises FileNotFoundError for a missing path, and ValueError for unreadable data and a video without a box.
    """
    if path.is_dir():
        whole = (path / "groundtruth_rect.txt").is_file()
        sequences = [read_sequence(path)] if whole else read_sequences(path)
        return [(one.frames(), [float(value) for value in one.boxes[0]]) for one in sequences]
    if box is None and path.is_file():
        raise ValueError(f"give a target's first box in {path} with --box x,y,w,h")
    video = read_video(path)
    assert box is not None  # read_video has refused a path without a file
    return [((frame for frame in video.frames if not isinstance(frame, Unreadable)), box)]


def collect(tracker: Tracker, given: Sequence[Source], count: int) -> list[tuple[Array, Array | None]]:
    """Collects crops and kernels of about ``count`` searches in batches of one, evenly from all sources.

    Raises ValueError if no source has two frames.
    """
    kept: list[tuple[Array, Array | None]] = []
    each = -(-count // max(1, len(given)))
    for pictures, box in given:
        frames = iter(pictures)
        first = next(frames, None)
        if first is None:
            continue
        target = tracker.init(first, box)
        for index, frame in enumerate(islice(frames, each * STEP)):
            if index % STEP == 0:
                kept.append(tracker.searched(frame, [target]))
            tracker.update(frame, target)
    if not kept:
        raise ValueError("there is nothing to calibrate on: no source has two frames")
    return kept
