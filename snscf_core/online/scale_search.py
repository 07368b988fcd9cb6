# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Resamples features to other scales, and finds the scale with the highest filter response."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import Array, as_array, joined, to_numpy
from ..devices import Device
from ..model import acf
from .array_choice import PEAK_REACH, peak_to_sidelobe, vertex
from .config import TrackerConfig
from .motion import Point
from .proposals import ProposalSelector
from .search_regions import Region, cell

_BALANCED = 1.22  # the scale and its inverse at which responses are compared; nearer to 1, noise would decide


def resampling(grid: int, zoom: float, shift: float) -> npt.NDArray[np.float64]:
    """Returns the grid x grid matrix that resamples values along one axis.

    The result is what the values would be if the crop's side had been ``zoom`` times as long and its centre moved by
    ``shift`` cells. It interpolates linearly, and repeats the last values beyond the ends.
    """
    middle = (grid - 1) / 2
    at = ((np.arange(grid) - middle) * zoom + shift + middle).clip(0, grid - 1)
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(grid)))


def best_scales(
    config: TrackerConfig,
    selector: ProposalSelector,
    regions: Sequence[Region],
    features: Array,
    filters: acf.FilterBank,
    gains: Array,
    device: Device,
) -> list[tuple[Any, ...]]:
    """Returns, for each of N regions, the fields of a `Candidate` that follow its region.

    features: N x D x G x G.
    filters: of N targets.
    gains: N x L.
    """
    steps = config.scale_steps
    views = [[[resampling(config.grid, step, 0.0)] * 2] * len(regions) for step in steps]
    responses = to_numpy(
        joined([selector.response(features, filters, gains, as_array(view, device)) for view in views], 1)
    )
    penalties = np.array([1.0 if step == 1 else config.scale_change_penalty for step in steps], np.float32)
    best = (responses.max((2, 3)) * penalties).argmax(1)
    found = []
    maps = responses[np.arange(len(regions)), best]
    for region, index, response in zip(regions, best.tolist(), maps, strict=True):
        row, column = _sub_cell_peak(response)
        pixels = cell(region, config) * steps[index]
        found.append((column * pixels, row * pixels, *(side * steps[index] for side in region.size)))
    scales = np.array([[[region.side / config.search_size]] for region in regions], np.float32)
    boxes = as_array(np.array(found, np.float32)[:, None] / scales, device)
    vectors = to_numpy(selector.embeddings(features, boxes))
    exclude = acf.SIDELOBE
    return [
        ((x, y), (w, h), 1.0, math.nan, float(response.max()), math.nan, peak_to_sidelobe(response, exclude), embedding)
        for (x, y, w, h), response, (embedding,) in zip(found, maps, vectors, strict=True)
    ]


def scale_balances(
    config: TrackerConfig,
    selector: ProposalSelector,
    zooms: Sequence[float],
    shifts: Sequence[Point],
    features: Array,
    filters: acf.FilterBank,
    gains: Array,
    device: Device,
) -> npt.NDArray[np.float64]:
    """Returns how much more the filters of N targets respond at a larger scale than at a smaller one, from -1 to 1.

    Only responses in the middle count, where the targets are.
    zooms, shifts: of the targets in their features, as in `resampling`.
    features: N x D x G x G.
    gains: N x L.
    """
    middle = slice(config.grid // 2 - PEAK_REACH, config.grid // 2 + PEAK_REACH + 1)
    highest = []
    for scale in (_BALANCED, 1 / _BALANCED):
        views = [
            [resampling(config.grid, zoom * scale, place) for place in shift]
            for zoom, shift in zip(zooms, shifts, strict=True)
        ]
        response = selector.response(features, filters, gains, as_array(views, device))
        highest.append(to_numpy(response)[:, 0, middle, middle].max((1, 2)).astype(np.float64))
    larger, smaller = np.maximum(highest, 1e-6)
    return np.asarray((larger - smaller) / (larger + smaller))


def _sub_cell_peak(response: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Returns (row, column) of the peak relative to the middle cell, refined by a parabola through its neighbours."""
    row, column = (int(i) for i in np.unravel_index(int(response.argmax()), response.shape))
    rows, columns = response.shape
    up = vertex(*response[row - 1 : row + 2, column].tolist()) if 0 < row < rows - 1 else 0.0
    across = vertex(*response[row, column - 1 : column + 2].tolist()) if 0 < column < columns - 1 else 0.0
    return float(row + up - (rows - 1) / 2), float(column + across - (columns - 1) / 2)
