# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Opens what the demonstration's camera shows: a generated scene, a recorded sequence, a video, or a real device."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from snscf_core.evaluation.sequences import open_folder, read_frame
from snscf_core.pictures.video import Read, Unreadable, read_video
from snscf_core.scenes import Scene
from snscf_core.user_folders import expanded
from snscf_ros.images import Frame
from snscf_ros.messages import Box

SOURCES = ("scene", "sequence", "video", "device")

_READ_AHEAD = 8  # frames
_SCENE_FRAMES = 240


@dataclass(frozen=True)
class Shot:
    """One frame of a source. box: the true (x, y, w, h); None where the target is absent or the truth unknown."""

    frame: Frame
    box: Box | None = None


class FrameSource(Protocol):
    """Frames in order.

    name: name for the user.
    length: number of frames; None where it is not known before the end.
    live: whether frames that nobody takes are lost.
    has_truth: whether the true boxes are known.
    """

    name: str
    length: int | None
    live: bool
    has_truth: bool

    def shots(self) -> Iterator[Shot]: ...


class SceneSource:
    """The generated scene. back: whether it then plays backwards, so that nothing jumps where it begins again."""

    live, has_truth = False, True

    def __init__(self, scene: Scene, back: bool = False) -> None:
        self.name = "generated scene"
        self._order = [*range(len(scene)), *(range(len(scene) - 2, 0, -1) if back else ())]
        self.length: int | None = len(self._order)
        self._scene = scene

    def shots(self) -> Iterator[Shot]:
        for number in self._order:
            shot = self._scene[number]
            yield Shot(shot.image, shot.box if shot.present else None)


class SequenceSource:
    """The images of a folder in OTB's layout, or of a folder of images, whose truth is not known."""

    live = False

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(f"sequence folder {folder} does not exist")
        self.name = folder.resolve().name
        self._sequence, self.has_truth = open_folder(folder)
        if not self._sequence.files:
            raise FileNotFoundError(f"{folder} is no sequence: it holds neither img/0001.jpg, ... nor images")
        self.length: int | None = len(self._sequence)

    def shots(self) -> Iterator[Shot]:
        for file, row in zip(self._sequence.files, self._sequence.boxes, strict=True):
            x, y, w, h = (float(value) for value in row)
            yield Shot(read_frame(file), (x, y, w, h) if np.isfinite(row).all() else None)


class VideoSource:
    """A video file."""

    live, has_truth = False, False

    def __init__(self, file: Path) -> None:
        self.name = file.name
        self._video = read_video(file)
        self.length = self._video.length

    def shots(self) -> Iterator[Shot]:
        yield from _shots(_readable(self._video.frames), self.name)


class DeviceSource:
    """A camera, by its number."""

    live, has_truth = True, False

    def __init__(self, number: int) -> None:
        self.name = f"camera {number}"
        self.length: int | None = None
        self._capture = cv2.VideoCapture(number)
        if not self._capture.isOpened():
            raise ValueError(f"{self.name} can't be opened")

    def shots(self) -> Iterator[Shot]:
        yield from _shots(self._frames(), self.name)

    def _frames(self) -> Iterator[Frame]:
        while (read := self._capture.read())[0]:
            yield np.asarray(read[1], np.uint8)
        self._capture.release()


def _readable(frames: Iterator[Read]) -> Iterator[Frame]:
    for frame in frames:
        if isinstance(frame, Unreadable):
            raise ValueError(frame.reason)
        yield frame


class RepeatedSource:
    """Plays another source over and over."""

    def __init__(self, again: Callable[[], FrameSource]) -> None:
        """Open the source. again: opens it at its beginning."""
        self._again = again
        self._first = again()
        self.name, self.live, self.has_truth = self._first.name, self._first.live, self._first.has_truth
        self.length: int | None = None

    def shots(self) -> Iterator[Shot]:
        source = self._first
        while True:
            yield from source.shots()
            source = self._again()


def _shots(frames: Iterator[Frame], name: str) -> Iterator[Shot]:
    empty = True
    for frame in frames:
        empty = False
        yield Shot(frame)
    if empty:
        raise ValueError(f"{name} gives no frames")


def open_source(
    source: str, path: str = "", device: int = 0, frames: int = 0, seed: int = 0, loop: bool = False
) -> FrameSource:
    """Open the source of a name in SOURCES.

    frames: how many frames will be played. A scene is made longer if needed and never shorter than usual, so that its
    first frames are always the same.
    loop: begin again after the last frame; a scene first goes back to its first frame.
    Raises FileNotFoundError and ValueError, saying what is wrong with which file.
    """
    if loop and source != "device":
        return RepeatedSource(lambda: _open_once(source, path, device, frames, seed, back=True))
    return _open_once(source, path, device, frames, seed)


def _open_once(source: str, path: str, device: int, frames: int, seed: int, back: bool = False) -> FrameSource:
    if source == "scene":
        return SceneSource(Scene(max(frames, _SCENE_FRAMES), seed=seed), back)
    if source == "device":
        return DeviceSource(device)
    if source not in SOURCES:
        raise ValueError(f"source is '{source}', must be one of {', '.join(SOURCES)}")
    if not path:
        raise ValueError(f"source is {source}, but path is empty")
    return SequenceSource(expanded(path)) if source == "sequence" else VideoSource(expanded(path))


class ReadAhead:
    """Reads a source in a thread of its own, some frames ahead. Keeps only the newest frame of a live source."""

    def __init__(self, source: FrameSource) -> None:
        self._source = source
        self._shots: queue.Queue[Shot | Exception | None] = queue.Queue(1 if source.live else _READ_AHEAD)
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._thread.start()

    def next(self) -> Shot | None:
        """Return the next frame, None after the last one. Raises what reading raised."""
        shot = self._shots.get()
        if isinstance(shot, Exception):
            raise shot
        return shot

    def close(self) -> None:
        """End the thread. If it were still inside OpenCV when the interpreter ends, the process would abort."""
        self._closed = True
        self._thread.join(2.0)

    def _read(self) -> None:
        try:
            for shot in self._source.shots():
                if self._source.live:
                    try:
                        self._shots.get_nowait()
                    except queue.Empty:
                        pass
                self._put(shot)
                if self._closed:
                    return
            self._put(None)
        except Exception as error:
            self._put(error)

    def _put(self, item: Shot | Exception | None) -> None:
        while not self._closed:
            try:
                self._shots.put(item, timeout=0.2)
                return
            except queue.Full:
                pass
