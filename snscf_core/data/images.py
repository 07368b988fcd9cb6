# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads image and mask files as data sets store them. Damaged files and files without an image raise ValueError."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..boxes import Array
from ..crops import Frame, check_frame
from ..pictures.decoding import decode_as_stored, picture_bytes, read_picture
from ..pictures.png import png_palette

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

    Raises ValueError if it is missing, damaged, cut off, not an image, or has fewer than 16 pixels a side.
    """
    image = read_picture(file)
    try:
        return check_frame(image)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def read_indices(file: Path) -> Indices:
    """Reads H x W object numbers, 0 for the background, from a palette, grey or 1-bit image.

    A colour image without a palette is one object (255) wherever it is not black. Raises as ``read_image`` does.
    """
    try:
        content = picture_bytes(file)
        image = decode_as_stored(content)
    except ValueError as error:
        raise ValueError(f"{file} can't be read as an image: {error}") from error
    if image.dtype != np.uint8:
        raise ValueError(f"{file} has {image.dtype} pixels, but a mask has at most 8 bits")
    palette = png_palette(content)
    if palette is None:
        return image if image.ndim == 2 else np.where(image[..., :3].any(axis=2), 255, 0).astype(np.uint8)
    # OpenCV returns only colours, so look the indices up in the palette. If entries are equal, the first counts.
    entries, first = np.unique(_packed(palette), return_index=True)
    colours = _packed(image[..., 2::-1])
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


def _packed(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Packs ... x 3 colours into one number each."""
    return colours.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
