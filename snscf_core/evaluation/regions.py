# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads and writes regions of the VOT challenges, and measures their overlaps.

A region is the four numbers of a rectangle ``(x, y, w, h)``, the eight of a polygon ``(x1, y1, ..., x4, y4)``, or one
of the codes below. Arrays of polygons are N x 8, with NaN for codes.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..boxes import Array
from ..files import write_file
from ..texts import read_text

UNKNOWN, INITIALISED, FAILED = 0, 1, 2

Region = int | tuple[float, ...]

_ROWS_AT_ONCE = 100_000  # of pixels; bounds the memory for rasterising
_NOWHERE = np.int64(2**40)  # stands for a missing crossing: a column to the right of every picture

_Floats = npt.NDArray[np.float32]
_Integers = npt.NDArray[np.int64]
_Spans = list[tuple[_Integers, _Integers]]


def parse_region(text: str) -> Region:
    """Parses one line of a VOT result or of true regions. A region with a NaN is ``UNKNOWN``, as in the VOT toolkit.

    Raises ValueError for anything but a code, a rectangle, or a polygon of four corners (masks are not supported).
    """
    values = tuple(float(value) for value in re.split(r"[,\s]+", text.strip().strip(",")))
    if len(values) == 1 and values[0] in (UNKNOWN, INITIALISED, FAILED):
        return int(values[0])
    if len(values) not in (4, 8):
        raise ValueError(f"expected 0, 1 or 2, four numbers (x, y, w, h) or eight (four corners), got {text.strip()!r}")
    return values if all(map(math.isfinite, values)) else UNKNOWN


def format_region(region: Region) -> str:
    """Formats the region as a line of a VOT result, with four decimals."""
    return str(region) if isinstance(region, int) else ",".join(f"{value:.4f}" for value in region)


def read_regions(file: Path) -> list[Region]:
    """Reads all regions of a text file, or of a ``.bin`` file of the VOT toolkit for Python.

    Raises FileNotFoundError, and ValueError naming the invalid line.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist; expected one region or code per line")
    if file.suffix == ".bin":
        try:
            return _parse_binary(file.read_bytes())
        except (ValueError, struct.error) as error:
            raise ValueError(f"{file}: {error}") from error
    regions = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if line.strip():
            try:
                regions.append(parse_region(line))
            except ValueError as error:
                raise ValueError(f"{file} line {number}: {error}") from error
    return regions


def _parse_binary(data: bytes) -> list[Region]:
    """Reads the toolkit's ``write_trajectory_binary``: version and count, then each region's kind and its numbers."""
    version, count = struct.unpack_from("<hI", data)
    if version != 1:
        raise ValueError(f"expected version 1 of the toolkit's binary regions, got {version}")
    at = struct.calcsize("<hI")
    regions: list[Region] = []
    for _ in range(count):
        (kind,) = struct.unpack_from("<B", data, at)
        # A polygon states its number of corners.
        head, numbers = {0: ("<B", "<I"), 1: ("<B", "<4f"), 2: ("<BH", "<8f")}.get(kind, ("", ""))
        if not head or (kind == 2 and struct.unpack_from(head, data, at)[1] != 4):
            raise ValueError(f"region {len(regions) + 1} is no code, rectangle or polygon of four corners")
        at += struct.calcsize(head)
        values = struct.unpack_from(numbers, data, at)
        at += struct.calcsize(numbers)
        regions.append(int(values[0]) if kind == 0 else values)
    return regions


def write_regions(file: Path, regions: Sequence[Region]) -> None:
    """Writes one region or code per line; the file appears once it is complete."""
    write_file(file, "".join(f"{format_region(region)}\n" for region in regions))


def corners(regions: Sequence[Region]) -> Array:
    """Returns the regions as N x 8 polygons, NaN for codes; a rectangle goes clockwise from its top left."""
    polygons = np.full((len(regions), 8), np.nan)
    for polygon, region in zip(polygons, regions, strict=True):
        if isinstance(region, int):
            continue
        if len(region) == 4:
            x, y, w, h = region
            polygon[:] = x, y, x + w, y, x + w, y + h, x, y + h
        else:
            polygon[:] = region
    return polygons


def enclosing_boxes(polygons: npt.ArrayLike) -> Array:
    """Returns the smallest upright rectangles around N x 8 polygons: N x 4, ``(x, y, w, h)``."""
    points = np.asarray(polygons, np.float64).reshape(-1, 4, 2)
    low = points.min(1)
    return np.hstack([low, points.max(1) - low])


def overlaps(a: npt.ArrayLike, b: npt.ArrayLike, bounds: npt.ArrayLike | None = None, *, legacy: bool = False) -> Array:
    """Returns the IoU of N x 8 polygons in whole pixels: N values in [0, 1], NaN where a polygon has NaN.

    bounds: the largest x and y that belong to the picture, for all pairs (2) or each (N x 2); None for no picture
    legacy: selects the "legacy rasterisation" of the VOT region library, which the Matlab toolkit uses to measure

    Follows ``compute_polygon_overlap`` of that library, to single precision. The legacy rasterisation leaves out the
    last column, and its rows begin where the regions do. Without it, corners are rounded and pixels filled up to them,
    as in pysot's toolkit. Where the library divides by zero because no pixel is filled, the overlap is 0.
    """
    a, b = np.asarray(a, np.float32).reshape(-1, 4, 2), np.asarray(b, np.float32).reshape(-1, 4, 2)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} regions can't be compared with {len(b)}: they come in pairs")
    result = np.full(len(a), np.nan)
    known = np.flatnonzero(np.isfinite(a).all((1, 2)) & np.isfinite(b).all((1, 2)))
    result[known] = 0.0
    a, b = a[known], b[known]
    limit = None if bounds is None else np.broadcast_to(np.asarray(bounds, np.float32), (len(result), 2))[known]
    low_a, high_a = _extent(a, limit, legacy)
    low_b, high_b = _extent(b, limit, legacy)
    origin = np.minimum(low_a, low_b)
    size = (np.maximum(high_a, high_b) - origin).astype(np.int64) + 1
    meet = (np.minimum(high_a, high_b) > np.maximum(low_a, low_b)).all(1)
    area_a, area_b = np.prod(high_a - low_a, 1, np.float64), np.prod(high_b - low_b, 1, np.float64)
    # The library treats regions of such different sizes as disjoint, so that a diverged one can't fill the memory.
    comparable = np.minimum(area_a, area_b) >= 1e-10 * np.maximum(area_a, area_b)
    pairs = np.flatnonzero(meet & comparable)
    group = np.cumsum(size[pairs, 1]) // _ROWS_AT_ONCE
    for chunk in np.split(pairs, np.flatnonzero(np.diff(group)) + 1):
        if len(chunk):
            shift = origin[chunk, None]
            result[known[chunk]] = _overlaps_on_grid(a[chunk] - shift, b[chunk] - shift, size[chunk], legacy)
    return result


def _extent(polygons: _Floats, limit: _Floats | None, legacy: bool) -> tuple[_Floats, _Floats]:
    """Returns the lowest and highest x and y of N x 4 x 2 polygons inside the picture, both N x 2."""
    low, high = polygons.min(1), polygons.max(1)
    if not legacy:
        low, high = np.floor(low), np.ceil(high)
    return (low, high) if limit is None else (np.maximum(low, np.float32(0)), np.minimum(high, limit))


def _overlaps_on_grid(a: _Floats, b: _Floats, size: _Integers, legacy: bool) -> Array:
    """Returns the overlaps of N x 4 x 2 polygons, each pair on its own grid of ``size`` (N x 2: columns, rows)."""
    rows = size[:, 1]
    starts = np.cumsum(rows) - rows
    pair = np.repeat(np.arange(len(rows)), rows)
    row = (np.arange(len(pair)) - starts[pair]).astype(np.float32)
    columns = size[pair, 0]
    spans = _legacy_spans if legacy else _spans
    spans_a, spans_b = spans(a, pair, row, columns), spans(b, pair, row, columns)

    def pixels(begin: _Integers, end: _Integers) -> _Integers:
        return np.add.reduceat(np.maximum(end - begin, 0), starts)

    area = sum(pixels(begin, end) for begin, end in (*spans_a, *spans_b))
    common = sum(
        pixels(np.maximum(begin_a, begin_b), np.minimum(end_a, end_b))
        for begin_a, end_a in spans_a
        for begin_b, end_b in spans_b
    )
    union = np.asarray(area - common)
    return np.where(union > 0, common / np.maximum(union, 1), 0.0)


def _legacy_spans(polygons: _Floats, pair: _Integers, row: _Floats, columns: _Integers) -> _Spans:
    """Returns the two runs of pixels, [begin, end), of a four-cornered polygon in each row; they may be empty.

    polygons: N x 4 x 2
    pair, row, columns: M each, the polygon of a row, its y, and the width of its grid
    """
    x, y = polygons[..., 0], polygons[..., 1]
    crossings = np.full((len(row), 4), _NOWHERE)
    for i, j in ((0, 3), (1, 0), (2, 1), (3, 2)):
        at = np.flatnonzero((y[:, i][pair] < row) != (y[:, j][pair] < row))
        edge = pair[at]
        xi, yi = x[edge, i], y[edge, i]
        crossings[at, i] = _whole(xi + (row[at] - yi) / (y[edge, j] - yi) * (x[edge, j] - xi))
    crossings.sort(1)
    # The library loses one more pixel at the right if a region extends beyond its grid.
    return [
        (np.maximum(begin, 0), np.where(begin >= columns, 0, np.where(end > columns, columns - 1, end)))
        for begin, end in ((crossings[:, 0], crossings[:, 1]), (crossings[:, 2], crossings[:, 3]))
    ]


def _whole(columns: _Floats | Array) -> _Integers:
    """Truncates towards zero; clips values far outside any picture so that they do not overflow."""
    return np.clip(columns, -1e9, 1e9).astype(np.int64)


def _spans(polygons: _Floats, pair: _Integers, row: _Floats, columns: _Integers) -> _Spans:
    """Returns the same as ``_legacy_spans``, filled in the newer way."""
    rounded = np.sign(polygons) * np.floor(np.abs(polygons.astype(np.float64)) + 0.5)
    x, y = rounded[..., 0], rounded[..., 1]
    crossings = np.full((len(row), 4), _NOWHERE)
    for i, j in ((0, 3), (1, 0), (2, 1), (3, 2)):
        low, high = np.minimum(y[:, i], y[:, j]), np.maximum(y[:, i], y[:, j])
        at = np.flatnonzero((low[pair] <= row) & (row <= high[pair]) & (low < high)[pair])
        edge = pair[at]
        xi, yi = x[edge, i], y[edge, i]
        crossings[at, i] = _whole(xi + (row[at] - yi) / (y[edge, j] - yi) * (x[edge, j] - xi))
    crossings.sort(1)
    n0, n1, n2, n3 = crossings.T
    # A corner is a crossing of both its edges, so the first of two equal crossings does not count.
    first = n0 != n1
    begin, end = np.where(first, n0, np.where(n1 != n2, n1, n2)), np.where(first, n1, np.where(n1 != n2, n2, n3))
    spans = [_filled(begin, end, columns)]
    second = first & (n2 != n3)
    begin, end = _filled(np.where(second, n2, _NOWHERE), np.where(second, n3, _NOWHERE), columns)
    return [*spans, (np.maximum(begin, spans[0][1]), end)]


def _filled(begin: _Integers, end: _Integers, columns: _Integers) -> tuple[_Integers, _Integers]:
    """Returns the pixels from one crossing to another, both included, as [begin, end)."""
    empty = (begin >= columns) | (begin == end) | (end == _NOWHERE)
    return np.maximum(begin, 0), np.where(empty, 0, np.minimum(end, columns - 1) + 1)
