# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Implements ``snscf track``: follows one target through a video or a folder of images."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..crops import Frame
from ..evaluation.sequences import image_folder, read_frame, read_truth
from ..files import writing
from ..pictures.files import image_files
from ..pictures.video import Read, Unreadable, Video, read_video
from ..signals import Interruption
from .options import add_tracker_arguments, box_of, tracker_of
from .video_output import VideoOutput


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of ``snscf track``."""
    parser.add_argument("input", type=Path, help="video file, folder of images, or folder in OTB's layout")
    parser.add_argument("--box", help="x,y,w,h of the target in the first frame (default: from groundtruth_rect.txt)")
    parser.add_argument(
        "--output", type=Path, help="text file for x,y,w,h,score,state per frame (default: standard output)"
    )
    parser.add_argument(
        "--video",
        type=Path,
        help="also write a video (.mp4) with the boxes drawn, at the video's own rate (images: 30 a second)",
    )
    parser.add_argument(
        "--allow-damaged",
        action="store_true",
        help="end with status 0 also where frames can't be read; their lines are nan,nan,nan,nan,nan,UNREADABLE",
    )
    add_tracker_arguments(parser, engine="auto")


def run(options: argparse.Namespace) -> None:
    """Runs ``snscf track``.

    Raises ValueError, FileNotFoundError and WeightsError for what can't be used, and OSError where nothing can be
    written. Raises `Interruption` at a signal; what is done until then is written. Frames that can't be read are left
    out and counted; at the end they are an error too, unless the options allow them.
    """
    for output in (options.output, options.video):
        if output is not None and output.exists() and options.input.exists() and output.samefile(options.input):
            raise ValueError(f"{output} is the input: choose another name for the output")
    source = _source(options.input)
    frame = _first_frame(source, options.input)
    box = _first_box(options)
    tracker = tracker_of(options)
    target = tracker.init(frame, box)
    done = 0
    lost: list[str] = []
    with ExitStack() as stack:
        # Opened only now, so that a refused box leaves an earlier file alone.
        text = sys.stdout
        if options.output is not None:
            stack.enter_context(writing(options.output))
            text = stack.enter_context(options.output.open("w", buffering=1))
        video = stack.enter_context(VideoOutput(options.video, source.fps)) if options.video is not None else None
        try:
            text.write(_line(target.box, 1.0, "TRACKED"))
            if video is not None:
                video.write(frame, target.box, "given")
            done = 1
            total = source.length and source.length - 1
            for frame in tqdm(source.frames, total=total, unit="frame", file=sys.stderr, disable=None):
                if isinstance(frame, Unreadable):
                    lost.append(frame.reason)
                    text.write(_line((math.nan,) * 4, math.nan, "UNREADABLE"))
                else:
                    track = tracker.update(frame, target)
                    text.write(_line(track.box, track.score, track.state.name))
                    if video is not None:
                        video.write(frame, track.box, f"{track.state.name.lower()} {track.score:.2f}")
                done += 1
        except Interruption as ended:
            frames = f"the first {done} frames" if done != 1 else "the first frame"
            places = [str(place) for place in (options.output, options.video) if place is not None]
            ended.kept = f"{frames} are in {' and '.join(places)}" if places else f"{frames} are printed"
            raise
    if video is not None and video.scaled:
        print(f"{video.scaled} frames of another size than the first are scaled in {options.video}", file=sys.stderr)
    _check_lost(lost, done, options.allow_damaged)


def _check_lost(lost: Sequence[str], total: int, allowed: bool) -> None:
    """Says how many frames can't be read, and why the first can't. Raises ValueError where that is not allowed."""
    if lost:
        said = f"{len(lost)} of {total} frames can't be read and are left out; the first: {lost[0]}"
        if not allowed:
            raise ValueError(f"{said} (--allow-damaged takes that for success)")
        print(f"snscf: {said}", file=sys.stderr)


def _line(box: Sequence[float], score: float, state: str) -> str:
    x, y, w, h = box
    return f"{x:.2f},{y:.2f},{w:.2f},{h:.2f},{score:.3f},{state}\n"


def _source(source: Path) -> Video:
    """Opens a video, or a folder's images in the order of their names."""
    if source.is_dir():
        files = image_files(image_folder(source))
        return Video(_pictures(files), len(files), None)
    return read_video(source)


def _pictures(files: Sequence[Path]) -> Iterator[Read]:
    for file in files:
        try:
            yield read_frame(file)
        except ValueError as error:
            yield Unreadable(str(error))


def _first_frame(source: Video, path: Path) -> Frame:
    frame = next(source.frames, None)
    if frame is None:
        raise ValueError(f"{path} has no frames")
    if isinstance(frame, Unreadable):
        raise ValueError(f"there is no first frame to start on: {frame.reason}")
    return frame


def _first_box(options: argparse.Namespace) -> Sequence[float]:
    if options.box is not None:
        return box_of(options.box, "--box")
    truth = options.input / "groundtruth_rect.txt"
    if truth.is_file() and len(boxes := read_truth(truth)):
        if np.isnan(boxes[0]).any():
            raise ValueError(f"{truth} has no box in its first line: give the target's box with --box x,y,w,h")
        return [float(value) for value in boxes[0]]
    raise ValueError("give the target's first box with --box x,y,w,h")
