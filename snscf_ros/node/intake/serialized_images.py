# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads image messages as the middleware hands them over: serialised, without copying their pixels.

rclpy would copy each image twice to make a message of it. Most images are never looked at, because nothing is followed
or a newer one comes, so they stay as they came, and `data` is a view of them.

All middlewares of ROS 2 serialise as CDR. The fields of images need only its simplest part: numbers at multiples of
their size, and texts and bytes behind their lengths. Anything else is left to rclpy.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from snscf_ros.images import ImageMessage, ImageRejected

# what CDR begins with, by byte order; the two bytes behind have no meaning for a reader
_ORDERS = {b"\x00\x00": ">", b"\x00\x01": "<"}
_BEGIN = 4


@dataclass(frozen=True, eq=False)
class ImageView:
    """The fields of a `sensor_msgs/Image`; data: a view of the serialised message."""

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True, eq=False)
class CompressedImageView:
    """The fields of a `sensor_msgs/CompressedImage`; data: a view of the serialised message."""

    header: Header
    format: str
    data: memoryview


def reader(kind: type) -> Callable[[bytes], ImageMessage]:
    """Return what reads serialised messages of a class, Image or CompressedImage.

    It raises ImageRejected where the bytes are no such message.
    """
    return _reader(Image, _image) if kind is Image else _reader(CompressedImage, _compressed_image)


def _reader(kind: type, read: Callable[[_Fields], Any]) -> Callable[[bytes], ImageMessage]:
    def message(serialized: bytes) -> ImageMessage:
        order = _ORDERS.get(serialized[:2])
        try:
            found: ImageMessage = read(_Fields(serialized, order)) if order else deserialize_message(serialized, kind)
            return found
        except Exception as error:  # rclpy's RMWError has no public name
            reason = " ".join(str(error).split())
            raise ImageRejected(f"{len(serialized)} bytes are no serialised {kind.__name__}: {reason}") from error

    return message


def _image(fields: _Fields) -> ImageView:
    header = fields.header()
    height, width = fields.numbers("2I")
    encoding = fields.text()
    (is_bigendian,) = fields.numbers("B")
    (step,) = fields.numbers("I")
    return ImageView(header, height, width, encoding, is_bigendian, step, fields.bytes())


def _compressed_image(fields: _Fields) -> CompressedImageView:
    return CompressedImageView(fields.header(), fields.text(), fields.bytes())


class _Fields:
    """Reads one field after the other. Raises ValueError or struct.error where the message ends too early."""

    def __init__(self, serialized: bytes, order: str) -> None:
        self._view = memoryview(serialized)[_BEGIN:]
        self._order = order
        self._position = 0

    def numbers(self, layout: str) -> tuple[int, ...]:
        """Read numbers of one size. layout: as in `struct`."""
        size = struct.calcsize("<" + layout[-1])
        self._position += -self._position % size
        found = struct.unpack_from(self._order + layout, self._view, self._position)
        self._position += struct.calcsize("<" + layout)
        return found

    def bytes(self) -> memoryview:
        (length,) = self.numbers("I")
        end = self._position + length
        if end > len(self._view):
            raise ValueError(f"{end - len(self._view)} bytes are missing at the end")
        found = self._view[self._position : end]
        self._position = end
        return found

    def text(self) -> str:
        """Read a text, which ends with a zero byte that its length counts."""
        return str(self.bytes()[:-1], "utf-8")

    def header(self) -> Header:
        (seconds,), (nanoseconds,) = self.numbers("i"), self.numbers("I")
        return Header(stamp=Time(sec=seconds, nanosec=nanoseconds), frame_id=self.text())
