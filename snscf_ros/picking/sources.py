# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the frame to draw on from a video, a folder of images or a recording."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from snscf_core.evaluation.sequences import image_folder, read_frame
from snscf_core.pictures.files import image_files
from snscf_core.pictures.video import Unreadable, read_video

if TYPE_CHECKING:
    from snscf_ros.images import Frame

_BAG_SUFFIXES = {".mcap", ".db3", ".bag"}


@dataclass(frozen=True)
class ChosenFrame:
    """Holds a frame to draw on.

    pixels: H x W x 3 uint8 BGR.
    stamp: of a recorded image, in nanoseconds; None for a frame of a video.
    """

    pixels: Frame
    stamp: int | None = None

    def text(self, box: tuple[float, float, float, float]) -> str:
        """Return a box in this frame as `snscf track --box` and `snscf eval bag --init` read it."""
        numbers = ",".join(f"{value:g}" for value in box)
        return numbers if self.stamp is None else f"{numbers}@{self.stamp}"


def is_bag(path: Path) -> bool:
    """Return whether a path is that of a recording, and not of a video or a folder of images."""
    if path.is_dir():
        return any(entry.suffix in _BAG_SUFFIXES or entry.name == "metadata.yaml" for entry in path.iterdir())
    return path.suffix in _BAG_SUFFIXES


def frame_of_bag(path: Path, topic: str, number: int) -> ChosenFrame:
    """Read an image of a recording by its number from 0. Raises ValueError or FileNotFoundError."""
    from snscf_ros.bags.bag import Bag
    from snscf_ros.bags.recording import Recording, image_topic

    with Bag(path) as bag:
        recording = Recording(bag, image_topic(bag, topic))
        if number >= len(recording):
            raise ValueError(f"--frame is {number}, but {path} has {len(recording)} images on {recording.topic}")
        return ChosenFrame(recording.frame(number), recording.stamps[number])


def frame_of_video(path: Path, number: int) -> ChosenFrame:
    """Read a frame of a video or folder of images by its number from 0. Raises ValueError or FileNotFoundError."""
    if path.is_dir():
        files = image_files(image_folder(path))
        if number >= len(files):
            raise ValueError(f"--frame is {number}, but {path} has {len(files)} images")
        return ChosenFrame(read_frame(files[number]))
    frame = next(islice(read_video(path).frames, number, None), None)
    if frame is None:
        raise ValueError(f"--frame is {number}, but {path} has fewer frames")
    if isinstance(frame, Unreadable):
        raise ValueError(frame.reason)
    return ChosenFrame(frame)
