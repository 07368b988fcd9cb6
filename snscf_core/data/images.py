# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads image and mask files as data sets store them. Truncated files and files without an image raise ValueError."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..boxes import Array
from ..crops import Frame, check_frame

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.uint8]

_SUBPIXEL_BITS = 8  # of cv2.fillPoly's fixed-point coordinates
_OVERSAMPLING = 4  # factor, for outlines that may cross a pixel anywhere


@dataclass(frozen=True)
class Polygons:
    """Holds an object's outlines, each K x 2 (x, y), in pixels of the stored image. The object is all they enclose.

    With ``pixel_centres`` False the coordinates are continuous, as in COCO. With True a vertex is the index of a pixel
    that still belongs to the object, as ``cv2.findContours`` returns it.
    """

    outlines: tuple[Array, ...]
    pixel_centres: bool = False


@dataclass(frozen=True)
class IndexedMask:
    """Refers to one object in an image file that holds an object's number at each pixel."""

    file: Path
    index: int


def read_image(file: Path) -> Frame:
    """Reads an image file as H x W x 3 uint8 BGR, as stored: without the rotation that EXIF may ask for.

    Raises ValueError if it is missing, truncated, not an image, or has fewer than 16 pixels a side.
    """
    image = _decode(file, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        return check_frame(image)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def read_indices(file: Path) -> Indices:
    """Reads H x W object numbers, 0 for the background, from a palette, grey or 1-bit image.

    A colour image without a palette is one object (255) wherever it is not black. Raises as ``read_image`` does.
    """
    palette = _palette(_complete(file))
    if palette is None:
        image = _decode(file, cv2.IMREAD_UNCHANGED)
        if image.dtype != np.uint8:
            raise ValueError(f"{file} has {image.dtype} pixels, but a mask has at most 8 bits")
        return image if image.ndim == 2 else np.where(image[..., :3].any(axis=2), 255, 0).astype(np.uint8)
    # OpenCV returns only colours, so look the indices up in the palette. If entries are equal, the first counts.
    entries, first = np.unique(_packed(palette), return_index=True)
    colours = _packed(_decode(file, cv2.IMREAD_COLOR)[..., ::-1])
    return first[np.searchsorted(entries, colours).clip(max=len(entries) - 1)].astype(np.uint8)


def read_mask(mask: Path | IndexedMask | Polygons, height: int, width: int) -> Mask:
    """Reads an H x W mask, true on the object. Raises ValueError if a file can't be read or is not of that size."""
    if isinstance(mask, Polygons):
        return rasterise(mask, height, width)
    file = mask.file if isinstance(mask, IndexedMask) else mask
    indices = read_indices(file)
    if indices.shape != (height, width):
        raise ValueError(f"{file} has {indices.shape[1]} x {indices.shape[0]} pixels, its image {width} x {height}")
    return indices == mask.index if isinstance(mask, IndexedMask) else indices > 0


def rasterise(polygons: Polygons, height: int, width: int) -> Mask:
    """Fills outlines: H x W, true for pixels in the object, or at least half in it if coordinates are continuous."""
    canvas = np.zeros((height, width), np.uint8)
    for outline in polygons.outlines:
        if polygons.pixel_centres:
            cv2.fillPoly(canvas, [np.round(outline * (1 << _SUBPIXEL_BITS)).astype(np.int32)], 1, shift=_SUBPIXEL_BITS)
            continue
        # cv2.fillPoly includes every pixel that the outline touches; on a fine grid that excess is negligible.
        low = np.clip(np.floor(outline.min(axis=0)).astype(int), 0, (width, height))
        high = np.clip(np.ceil(outline.max(axis=0)).astype(int), 0, (width, height))
        if (high <= low).any():
            continue
        fine = np.zeros((high - low)[::-1] * _OVERSAMPLING, np.uint8)
        points = ((outline - low) * _OVERSAMPLING - 0.5) * (1 << _SUBPIXEL_BITS)
        cv2.fillPoly(fine, [np.round(points).astype(np.int32)], 255, shift=_SUBPIXEL_BITS)
        covered: Any = cv2.resize(fine, tuple((high - low).tolist()), interpolation=cv2.INTER_AREA)
        canvas[low[1] : high[1], low[0] : high[0]] |= covered >= 128
    return canvas.astype(bool)


def _complete(file: Path) -> bytes:
    """Returns the file's bytes, checked to be complete: decoders silently fill a truncated file with grey."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file} can't be read: {error.strerror}") from error
    if not content:
        raise ValueError(f"{file} is empty")
    end = content[-1024:]  # some cameras append a few bytes
    whole = True
    if content.startswith(b"\xff\xd8"):
        whole = b"\xff\xd9" in end
    elif content.startswith(b"\x89PNG"):
        whole = b"IEND" in end
    elif content.startswith(b"RIFF"):
        whole = len(content) >= int.from_bytes(content[4:8], "little")
    if not whole:
        raise ValueError(f"{file} is cut off after {len(content)} bytes")
    return content


def _decode(file: Path, flags: int) -> Any:
    try:
        image = cv2.imdecode(np.frombuffer(_complete(file), np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{file} can't be read as an image")
    return image


def _palette(content: bytes) -> npt.NDArray[np.uint8] | None:
    """Returns the N x 3 palette (red, green, blue) of a PNG file; None for files without a palette."""
    if not content.startswith(b"\x89PNG") or len(content) < 33 or content[25] != 3:
        return None
    at = 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"PLTE":
            return np.frombuffer(content[at + 8 : at + 8 + length // 3 * 3], np.uint8).reshape(-1, 3)
        at += length + 12
    return None


def _packed(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Packs ... x 3 colours into one number each."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
