# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes bags from sequences and videos: images at an even pace, and the true boxes where there are any."""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2

from snscf_core.boxes import Array
from snscf_core.evaluation.sequences import open_folder
from snscf_core.files import writing
from snscf_core.pictures import jpeg
from snscf_core.pictures.decoding import decode_picture, picture_bytes
from snscf_core.pictures.files import IMAGE_SUFFIXES
from snscf_core.pictures.video import Read, Unreadable, read_video
from snscf_ros.bags import message_types
from snscf_ros.images import Frame
from snscf_ros.messages import box_to_message
from snscf_ros.stamps import SECOND

_DEFAULT_FPS = 30.0
_JPEG_QUALITY = 95
_LAST_SECOND = 2**31  # s; stamps count seconds in 32 bits


@dataclass(frozen=True)
class _Pictures:
    """What a bag is made from.

    frames: frames in order, each with the JPEG file that it comes from; empty bytes where it is not a JPEG. A frame
        that can't be read is `Unreadable`.
    boxes: N x 4 true boxes, or None for a sequence without ground truth.
    fps: frames per second.
    """

    frames: Iterator[tuple[Read, bytes]]
    boxes: Array | None
    fps: float = _DEFAULT_FPS


def write_sequence(
    source: Path,
    output: Path,
    *,
    storage: str,
    topic: str,
    encoding: str,
    fps: float | None,
    start_stamp: str,
    allow_damaged: bool = False,
) -> str:
    """Make a bag, the same bytes for the same input, and return a sentence about it. Never touches an existing bag.

    storage: mcap, sqlite3 or rosbag1.
    topic: topic of the images; true boxes go to ``ground_truth`` beside it.
    encoding: bgr8, rgb8, mono8, or jpeg for CompressedImage, which takes JPEG files as they are.
    fps: frames per second; None for those of the input.
    start_stamp: stamp of the first image in seconds.
    allow_damaged: leave out frames that can't be read; the others keep their stamps. Without it they are an error.
    Raises ValueError and FileNotFoundError, saying what is wrong with which input, and OSError where nothing can be
    written.
    """
    if storage == "rosbag1" and output.suffix != ".bag":
        output = output.with_name(output.name + ".bag")
    if output.exists():
        raise ValueError(f"{output} exists already; it is left as it is")
    if not topic.startswith("/") or topic.endswith("/") or "//" in topic:
        raise ValueError(f"--topic must be absolute, such as /camera/image_raw, got {topic!r}")
    pictures = _pictures(source)
    pace = fps or pictures.fps
    if not 0 < pace <= 10_000:
        raise ValueError(f"--fps must be greater than 0 and at most 10000, got {pace:g}")
    image_topic = f"{topic}/compressed" if encoding == "jpeg" and not topic.endswith("/compressed") else topic
    truth_topic = f"{topic.removesuffix('/compressed').rpartition('/')[0]}/ground_truth"
    start = _nanoseconds(start_stamp)
    output.parent.mkdir(parents=True, exist_ok=True)
    # written to a temporary folder, so that a failure half-way leaves nothing that looks like a bag
    parent = Path(tempfile.mkdtemp(prefix=".bag_", dir=output.parent))
    try:
        with writing(output), _Writer(parent / output.name, storage) as writer:
            count = 0
            lost: list[str] = []
            for number, (frame, file) in enumerate(pictures.frames):
                if isinstance(frame, Unreadable):
                    lost.append(frame.reason)
                    continue
                count += 1
                stamp = start + round(number * SECOND / pace)
                header = writer.header(stamp)
                kind = message_types.COMPRESSED if encoding == "jpeg" else message_types.IMAGE
                writer.write(image_topic, kind, stamp, writer.image(header, frame, file, encoding))
                if pictures.boxes is not None:
                    message = writer.truth(header, pictures.boxes[number])
                    writer.write(truth_topic, message_types.DETECTIONS, stamp, message)
            _check_complete(source, count, lost, allow_damaged)
        (parent / output.name).rename(output)
    except sqlite3.OperationalError as error:
        # the storage sqlite3 raises this where there is no room
        raise OSError(errno.EIO, str(error), str(output)) from error
    finally:
        shutil.rmtree(parent, ignore_errors=True)
    truths = f", true boxes on {truth_topic}" if pictures.boxes is not None else ""
    gaps = f"; {len(lost)} frames can't be read and are left out, the first: {lost[0]}" if lost else ""
    return f"{output}: {count} images on {image_topic}{truths}{gaps}"


def _check_complete(source: Path, count: int, lost: Sequence[str], allow_damaged: bool) -> None:
    """Raises ValueError if there are no frames, or if some that can't be read are not allowed."""
    if not count:
        raise ValueError(f"{source} has no images{f': {lost[0]}' if lost else ''}")
    if lost and not allow_damaged:
        raise ValueError(
            f"{len(lost)} of {count + len(lost)} frames can't be read, the first: {lost[0]} "
            "(--allow-damaged leaves them out)"
        )


class _Writer:
    """Writes a bag of either generation; a context manager."""

    def __init__(self, path: Path, storage: str) -> None:
        self._ros1 = storage == "rosbag1"
        self._store = message_types.store(self._ros1)
        self._connections: dict[str, Any] = {}
        self._count = 0
        self._writer: Any = (
            Writer1(path) if self._ros1 else Writer2(path, version=8, storage_plugin=StoragePlugin[storage.upper()])
        )

    def __enter__(self) -> _Writer:
        self._writer.open()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._writer.close()
        elif not self._ros1:
            self._writer.abort()

    def write(self, topic: str, kind: str, stamp: int, message: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        serialize = self._store.serialize_ros1 if self._ros1 else self._store.serialize_cdr
        self._writer.write(self._connections[topic], stamp, bytes(serialize(message, kind)))

    def header(self, stamp: int) -> Any:
        seconds, nanoseconds = divmod(stamp, SECOND)
        time = self._new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        sequence = {"seq": self._count} if self._ros1 else {}
        self._count += 1
        return self._new("std_msgs/msg/Header", stamp=time, frame_id="camera", **sequence)

    def image(self, header: Any, frame: Frame, file: bytes, encoding: str) -> Any:
        if encoding == "jpeg":
            data = np.frombuffer(file or _jpeg(frame), np.uint8)
            return self._new(message_types.COMPRESSED, header=header, format="bgr8; jpeg compressed bgr8", data=data)
        pixels = _encoded(frame, encoding)
        height, width = pixels.shape[:2]
        return self._new(
            message_types.IMAGE,
            header=header,
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=pixels.nbytes // height,
            data=pixels.reshape(-1),
        )

    def truth(self, header: Any, box: Array) -> Any:
        """Make a Detection2DArray, empty where the target is absent."""
        detections = []
        if np.isfinite(box).all() and (box[2:] > 0).all():
            detection = self._detection_ros1 if self._ros1 else self._detection
            detections = [detection(header, *(float(value) for value in box))]
        return self._new(message_types.DETECTIONS, header=header, detections=detections)

    def _detection(self, header: Any, *box: float) -> Any:
        x, y, w, h = box
        bbox = box_to_message((x, y, w, h), self._store.types.__getitem__)
        return self._new(message_types.DETECTION, header=header, results=[], bbox=bbox, id="truth")

    def _detection_ros1(self, header: Any, *box: float) -> Any:
        x, y, w, h = box
        centre = self._new("geometry_msgs/msg/Pose2D", x=x + w / 2, y=y + h / 2, theta=0.0)
        bbox = self._new("vision_msgs/msg/BoundingBox2D", center=centre, size_x=w, size_y=h)
        no_image = self._new(
            message_types.IMAGE,
            header=header,
            height=0,
            width=0,
            encoding="",
            is_bigendian=0,
            step=0,
            data=np.empty(0, np.uint8),
        )
        return self._new(message_types.DETECTION, header=header, results=[], bbox=bbox, source_img=no_image)

    def _new(self, name: str, **fields: Any) -> Any:
        return self._store.types[name](**fields)


def _pictures(source: Path) -> _Pictures:
    if source.is_dir():
        sequence, has_truth = open_folder(source)
        if not sequence.files:
            raise ValueError(f"{source} has no images ({', '.join(IMAGE_SUFFIXES)})")
        return _Pictures(_files(sequence.files), sequence.boxes if has_truth else None)
    video = read_video(source)
    return _Pictures(((frame, b"") for frame in video.frames), None, video.fps or _DEFAULT_FPS)


def _files(files: tuple[Path, ...]) -> Iterator[tuple[Read, bytes]]:
    for file in files:
        try:
            data = picture_bytes(file)
            yield decode_picture(data), data if data.startswith(jpeg.START) else b""
        except ValueError as error:
            yield Unreadable(f"{file} can't be read as an image: {error}"), b""


def _encoded(frame: Frame, encoding: str) -> Frame:
    if encoding == "bgr8":
        return np.ascontiguousarray(frame)
    code = cv2.COLOR_BGR2RGB if encoding == "rgb8" else cv2.COLOR_BGR2GRAY
    return np.asarray(cv2.cvtColor(frame, code), np.uint8)


def _jpeg(frame: Frame) -> bytes:
    _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return bytes(encoded.tobytes())


def _nanoseconds(text: str) -> int:
    try:
        stamp = int((Decimal(text) * SECOND).to_integral_value())
    except (InvalidOperation, ValueError, OverflowError):
        raise ValueError(f"--start-stamp must be seconds, got {text!r}") from None
    if not 0 < stamp < _LAST_SECOND * SECOND:
        raise ValueError(f"--start-stamp must be greater than 0 and less than {_LAST_SECOND}, got {text}")
    return stamp
