# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Does the same as `proposals.ProposalSelector`, in NumPy.

On a CPU, the overhead of calls into torch would exceed the time for these few numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..model.geometry import STRIDE
from .config import TrackerConfig

Values = npt.NDArray[np.float32]

PEAK_REACH = 2  # cells; a peak farther from a proposal's centre is that of something else, or of noise


class _Boxes(NamedTuple):
    """M boxes, prepared for merging.

    whole: 4 x M (cx, cy, w, h).
    low, high: 2 x M, the corners.
    areas: M.
    """

    whole: Values
    low: Values
    high: Values
    areas: Values


class ArrayChoice:
    """Chooses among the proposals of one search region, with the arithmetic of `ProposalSelector.forward`.

    by_response: whether proposals are ranked by the response at their centres alone.
    share: share of that response in the rank otherwise.
    correction: share of the way from a proposal's centre to the response's peak beside it.
    anchors: A x 4 x P x P.
    window_prior: A * P * P, the cosine window's addition to each proposal's rank.
    spacing: crop pixels from one cell of proposals to the next.
    """

    def __init__(
        self,
        config: TrackerConfig,
        by_response: bool,
        share: float,
        correction: float,
        anchors: Values,
        window_prior: Values,
        spacing: int,
    ) -> None:
        self.config, self.by_response, self.share = config, by_response, np.float32(share)
        self.correction = np.float32(correction)
        self.window_prior = window_prior
        self.exclude = config.sidelobe // (STRIDE if by_response else spacing)
        flat = np.ascontiguousarray(anchors.swapaxes(0, 1)).reshape(4, -1)
        self.centres, self.sizes = flat[:2], flat[2:]
        # With a border of zeros, points just outside the map can be sampled like those inside.
        self.padded = np.zeros((config.grid + 3, config.grid + 3), np.float32)

    @np.errstate(all="ignore")  # infinite boxes get rank 0, so their warnings do not matter
    def __call__(self, scores: Values, deltas: Values, response: Values | None, reference_shape: Values) -> Values:
        """Returns the candidates of `SearchResult` without the embeddings, K x 9.

        scores: A x P x P logits.
        deltas: A x 4 x P x P.
        response: G x G; None in mode siamese.
        reference_shape: 2 numbers, as in `ProposalSelector.forward`.
        """
        config, side = self.config, scores.shape[-1]
        moved = deltas.swapaxes(0, 1).reshape(4, -1)
        whole = np.empty_like(moved)
        np.multiply(moved[:2], self.sizes, out=whole[:2])
        whole[:2] += self.centres
        np.multiply(np.exp(np.minimum(moved[2:], 4.0)), self.sizes, out=whole[2:])
        found: Values = np.asarray(1 / (1 + np.exp(-scores.reshape(-1))), np.float32)
        ranking, deciding = found, None
        if response is None:
            sampled = agreement = np.full_like(found, np.nan)
        else:
            sampled = self._sampled(response, whole)
            agreement = sampled / min(max(float(response.max()), 1e-6), 1.0)
            if self.by_response:
                ranking, deciding = sampled, response
            else:
                ranking = found + self.share * (sampled - found)
        quality = peak_to_sidelobe(
            ranking.reshape(-1, side, side).max(0) if deciding is None else deciding, self.exclude
        )
        penalty = self._penalty(whole[2], whole[3], reference_shape)
        ranked, others = penalty * ranking, penalty * found
        weights = np.maximum(np.square(ranked if self.by_response else others), 1e-12)
        half: Values = whole[2:] * np.float32(0.5)
        boxes = _Boxes(whole, whole[:2] - half, whole[:2] + half, whole[2] * whole[3])
        total = (1 - config.window_influence) * ranked + self.window_prior
        rows = np.empty((config.candidates, 9), np.float32)
        for row in rows:
            best = int(total.argmax())
            row[:4] = merged(boxes, weights, best, config.merge_overlap)
            row[4:] = ranked[best] * config.size_rate, found[best], sampled[best], agreement[best], quality
            # The next candidate is the best elsewhere, ranked without the cosine window.
            near = (np.abs(whole[:2] - row[:2, None]) < row[2:4, None] / 2).all(0)
            total = others = np.where(near, np.float32(-1.0), others)
            if response is not None and self.correction:
                row[:2] += self.correction * to_peak(response, row[:2])
        return rows

    def _sampled(self, response: Values, boxes: Values) -> Values:
        """Samples the response bilinearly at the boxes' centres; 0 outside the map, at most 1."""
        grid = response.shape[0]
        self.padded[1:-2, 1:-2] = response
        at = boxes[:2] * (1 / STRIDE) + (grid - 1) / 2
        at = np.fmin(np.fmax(at, -1.0), grid)
        first = np.floor(at)
        (across, down), (x, y) = at - first, first.astype(np.intp) + 1
        flat, width = self.padded.reshape(-1), grid + 3
        start = y * width + x
        above = flat[start] * (1 - across) + flat[start + 1] * across
        below = flat[start + width] * (1 - across) + flat[start + (width + 1)] * across
        return np.asarray(np.minimum(np.maximum(above * (1 - down) + below * down, 0.0), 1.0), np.float32)

    def _penalty(self, widths: Values, heights: Values, reference_shape: Values) -> Values:
        """Returns a factor on the rank for changes of size and ratio: 1 for none, 0 for an infinite change."""
        context = (widths + heights) / 2
        extent = np.sqrt((widths + context) * (heights + context)) / reference_shape[0]
        ratio = widths / heights / reference_shape[1]
        change = np.maximum(extent, 1 / extent) * np.maximum(ratio, 1 / ratio)
        return np.asarray(np.exp((1 - change) * self.config.anchor_penalty))


def to_peak(response: Values, centre: Values) -> Values:
    """Returns the way from a centre to the highest response beside it, in crop pixels (x, y).

    The peak is at most `PEAK_REACH` cells from the centre's cell, and refined by parabolas through its neighbours. If
    all these cells are at the map's edge or outside, the way is 0.
    response: G x G.
    centre: crop pixels relative to the middle.
    """
    grid = response.shape[0]
    at = centre * np.float32(1 / STRIDE) + np.float32((grid - 1) / 2)
    low, high = np.maximum(np.rint(at) - PEAK_REACH, 1), np.minimum(np.rint(at) + PEAK_REACH, grid - 2)
    if not (low <= high).all():  # also if the centre is no number
        return np.zeros(2, np.float32)
    (left, top), (right, bottom) = low.astype(int).tolist(), high.astype(int).tolist()
    beside = response[top : bottom + 1, left : right + 1]
    row, column = divmod(int(beside.argmax()), beside.shape[1])
    row, column = row + top, column + left
    up = vertex(*response[row - 1 : row + 2, column].tolist())
    across = vertex(*response[row, column - 1 : column + 2].tolist())
    return np.asarray((np.array([column + across, row + up]) - at) * STRIDE, np.float32)


def vertex(before: float, at: float, after: float) -> float:
    """Returns where a parabola through three neighbours has its peak, in cells from the middle one, at most half."""
    curvature = before - 2 * at + after
    return min(max(0.5 * (before - after) / curvature, -0.5), 0.5) if curvature < 0 else 0.0


def merged(boxes: _Boxes, weights: Values, best: int, overlap: float) -> Values:
    """Does the same as `proposals.merged` for one region; returns 4 numbers."""
    sides = np.minimum(boxes.high, boxes.high[:, best, None]) - np.maximum(boxes.low, boxes.low[:, best, None])
    sides = np.maximum(sides, 0.0)
    intersection = sides[0] * sides[1]
    near = intersection > overlap * (boxes.areas + boxes.areas[best] - intersection)
    near[best] = True
    shares = weights[near]
    return np.asarray((boxes.whole[:, near] * shares).sum(1) / shares.sum())


def peak_to_sidelobe(response: Values, exclude: int) -> float:
    """Does the same as `acf.peak_to_sidelobe_ratio` for one map."""
    row, column = divmod(int(response.argmax()), response.shape[1])
    sidelobe = np.ones(response.shape, bool)
    sidelobe[max(0, row - exclude) : row + exclude + 1, max(0, column - exclude) : column + exclude + 1] = False
    values = response[sidelobe]
    if not len(values):
        return 0.0
    mean = values.sum() / len(values)
    variance = float(np.square(values - mean).sum() / len(values))
    return float((response[row, column] - mean) / variance**0.5) if variance > 1e-12 else 0.0


def coverage(boxes: Values, grid: int) -> Values:
    """Returns how much of each cell each box covers, N x K x (G * G): the weights of `proposals.embeddings`."""
    middles = (np.arange(grid, dtype=np.float32) - (grid - 1) / 2) * np.float32(STRIDE)
    centre, reach = boxes[..., :2, None], boxes[..., 2:4, None] / 2
    high = np.minimum(centre + reach, middles + STRIDE / 2)
    low = np.maximum(centre - reach, middles - STRIDE / 2)
    covered = np.maximum(high - low, np.float32(1e-3))
    across, down = covered[..., 0, :], covered[..., 1, :]
    return np.asarray((down[..., :, None] * across[..., None, :]).reshape(*boxes.shape[:2], -1), np.float32)


def unit_vectors(means: Values, sections: Sequence[int]) -> Values:
    """Scales vectors (... x D) to length 1, with the same length for each level's part."""
    starts = np.cumsum([0, *sections[:-1]])
    lengths = np.sqrt(np.add.reduceat(np.square(means), starts, axis=-1)) * len(sections) ** 0.5
    return np.asarray(means / np.repeat(np.maximum(lengths, 1e-12), sections, axis=-1), np.float32)
