# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decodes pictures of every format, alike for the node, recordings, files and training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..crops import Frame
from . import jpeg, png, tiff
from .sixteen_bits import stretched_to_8_bit


def decode_picture(data: bytes) -> Frame:
    """Decodes a picture to H x W x 3 uint8 BGR, as stored: without a rotation that its metadata may ask for.

    16 bits are stretched to 8 as in image messages. Raises ValueError if it is damaged, cut off or no picture.
    """
    return as_frame(decode_as_stored(data))


def decode_as_stored(data: bytes) -> Any:
    """Decodes a picture to H x W, or H x W x 3 or 4 in the order BGRA, with 8 or 16 bits as the file has them.

    Raises ValueError if it is damaged, cut off or no picture.
    """
    if data.startswith(jpeg.START):
        return jpeg.decode_jpeg(data, as_stored=True)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    if data.startswith(png.START):
        png.check_png(data)
        flags = cv2.IMREAD_UNCHANGED
    elif tiff.is_tiff(data):
        data, flags = tiff.without_orientation(data), cv2.IMREAD_UNCHANGED
    elif data.startswith(b"RIFF") and len(data) < int.from_bytes(data[4:8], "little"):
        raise ValueError(f"WebP is cut off after {len(data)} bytes")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError("it is damaged, or no picture" if data else "it is empty")
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"its pixels are {image.dtype}; 8 and 16 bits can be read")
    return image


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Returns width and height from the headers of a JPEG or PNG, without decoding it; None for any other format.

    Raises ValueError if the headers are damaged or the file is cut off.
    """
    if data.startswith(jpeg.START):
        header = jpeg.read_header(data)
        return header.width, header.height
    return png.png_size(data) if data.startswith(png.START) else None


def as_frame(image: Any) -> Frame:
    """Returns grey, BGR or BGRA of 8 or 16 bits as H x W x 3 uint8 BGR."""
    if image.ndim == 3:
        image = image[:, :, :3]
    if image.dtype == np.uint16:
        image = stretched_to_8_bit(image)
    if image.ndim == 2:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), np.uint8)
    return np.ascontiguousarray(image)


def read_picture(file: Path) -> Frame:
    """Reads a picture file as `decode_picture` does. Raises ValueError, naming the file, if it can't be used."""
    try:
        return decode_picture(picture_bytes(file))
    except ValueError as error:
        raise ValueError(f"{file} can't be read as an image: {error}") from error


def picture_bytes(file: Path) -> bytes:
    """Reads a file. Raises ValueError saying why it can't be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
