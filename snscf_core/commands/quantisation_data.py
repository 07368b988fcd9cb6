# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the network sees while it tracks: the frames that 8-bit ranges are taken from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..crops import Frame
from ..evaluation.sequences import read_sequence, read_sequences, read_video

if TYPE_CHECKING:
    from ..online.tracker import Tracker

STEP = 3  # every third frame is kept: neighbours are nearly the same
Source = tuple[Iterable[Frame], Sequence[float]]  # frames, and the box (x, y, w, h) of a target in the first one


def sources(path: Path, box: Sequence[float] | None = None) -> list[Source]:
    """A sequence in OTB's layout, a folder of such, or a video file with the box of a target in its first frame.

    Raises FileNotFoundError, or ValueError for what can't be read.
    """
    if path.is_dir():
        whole = (path / "groundtruth_rect.txt").is_file()
        sequences = [read_sequence(path)] if whole else read_sequences(path)
        return [(one.frames(), [float(value) for value in one.boxes[0]]) for one in sequences]
    if box is None and path.is_file():
        raise ValueError(f"say what to follow in {path} with --box x,y,w,h")
    video = read_video(path)
    assert box is not None  # a path without a file has been refused
    return [(video.frames, box)]


def collect(tracker: Tracker, given: Sequence[Source], count: int) -> list[tuple[Tensor, Tensor | None]]:
    """Crops and kernels of about ``count`` searches, spread evenly over the sources, in batches of one.

    Raises ValueError if the sources are too short to give any.
    """
    kept: list[tuple[Tensor, Tensor | None]] = []
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
