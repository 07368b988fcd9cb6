# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Selects the candidates for the target: the best few proposals in each search region.

On a CPU this is done in NumPy, because there calls into torch take longer than their arithmetic; on a GPU by
`tensor_selection`.
"""

from __future__ import annotations

from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..arrays import Array, as_array, joined, to_numpy
from ..devices import Device
from ..engines import Engine
from ..engines.search_output import SearchOutput
from ..model import acf
from .array_choice import ArrayChoice, coverage, unit_vectors
from .config import TrackerConfig
from .mode import Mode

NUMBERS = 9  # numbers of each candidate before its embedding


class SearchResult(NamedTuple):
    """The features and candidates of N search crops.

    features: N x D x G x G, input of the correlation filters.
    candidates: N x K x (9 + D), the K best proposals in different places, the best first; None in mode
    correlation_filter. Each row has
    - the box: cx, cy, w, h in crop pixels relative to the middle;
    - how far the target's size should follow it;
    - its score, the response there, and that response relative to the map's peak, see ``Evidence``;
    - the peak-to-sidelobe ratio of the map that decided, the same for all K;
    - D numbers of the embedding, see `embeddings`.
    """

    features: Array
    candidates: Array | None


class Search:
    """Runs the network on search crops and selects candidates, all on the device."""

    def __init__(self, runtime: Engine, selector: ProposalSelector) -> None:
        self.runtime, self.selector = runtime, selector

    def __call__(
        self,
        crops: Array,
        kernels: Array | None = None,
        numerator: Array | None = None,
        denominator: Array | None = None,
        gains: Array | None = None,
        reference_shape: Array | None = None,
    ) -> SearchResult:
        """Returns the features and candidates of N search crops.

        crops, kernels: as in ``Engine.search``.
        numerator, denominator: as in ``FilterBank``; None in modes without filters.
        gains, reference_shape: as in `ProposalSelector.forward`; None in modes without proposals.
        """
        found, features = self.look(crops, kernels)
        if gains is None or reference_shape is None:
            return SearchResult(features, None)
        filters = None
        if numerator is not None and denominator is not None:
            filters = acf.FilterBank(numerator, denominator, self.selector.sections, self.selector.config.ridge)
        return SearchResult(features, self.selector(features, found, filters, gains, reference_shape))

    def look(self, crops: Array, kernels: Array | None) -> tuple[SearchOutput, Array]:
        """Returns the network's output and the filters' input features, N x D x G x G."""
        found = self.runtime.search(crops, kernels)
        features, grid = found.features, self.selector.config.grid
        assert features.shape[-1] == grid
        return found, features


class ProposalSelector:
    """Ranks proposals by their scores, the filters' response at their centres, and their change of size and ratio.

    This class computes with NumPy arrays, on a CPU.

    anchors: A x 4 x P x P, the boxes that the deltas are relative to.
    sections: number of channels of each level of the features.
    level_weights: L, weights of the levels' responses.
    device: of the features.
    coarse: as in `acf.learn_bank`.
    """

    def __init__(
        self,
        config: TrackerConfig,
        mode: Mode,
        anchors: npt.NDArray[np.float32],
        sections: tuple[int, ...],
        level_weights: npt.ArrayLike,
        device: Device,
        *,
        coarse: tuple[bool, ...] = (),
    ) -> None:
        self.config, self.mode, self.sections, self.coarse = config, mode, sections, coarse
        self.share = config.response_share if mode.response_share is None else mode.response_share
        self.correction = config.centre_correction if mode.corrects_boxes else 0.0
        self.spacing = int(anchors[0, 0, 0, 1] - anchors[0, 0, 0, 0])  # crop pixels
        window_prior = (acf.hann_window(anchors.shape[-1]) * np.float32(config.window_influence)).ravel()
        self._anchors, self._window_prior = anchors, np.tile(window_prior, len(anchors))
        # The Hann window is a product of one along each axis, so it is part of the filters' matrices.
        self.windowing = np.diag(acf.hann_profile(config.grid).astype(np.float32))
        self.level_weights = as_array(level_weights, device)
        self._array_choice = ArrayChoice(
            config, mode.ranks_by_response, self.share, self.correction, anchors, self._window_prior, self.spacing
        )

    def response(self, features: Array, filters: acf.FilterBank, gains: Array, views: Array | None = None) -> Array:
        """Returns the weighted sum of the levels' responses (eq 9), N x 1 x G x G, for features N x D x G x G.

        views: N x 2 x G x G, by which the features are resampled before they are windowed, see `arrays.resampled`.
        """
        windowed: Any = self.windowing if views is None else self.windowing @ views
        windowed = np.broadcast_to(windowed, (len(features), 2, *self.windowing.shape))
        # One target at a time, because its maps fit into the processor's cache.
        rows = [slice(index, index + 1) for index in range(len(features))]
        each = [(filters.of(row), features[row], gains[row], self.level_weights, windowed[row]) for row in rows]
        return joined([acf.respond_bank(*some, self.coarse) for some in each])

    def __call__(
        self,
        features: Array,
        found: SearchOutput,
        filters: acf.FilterBank | None,
        gains: Array,
        reference_shape: Array,
    ) -> Array:
        """Returns the candidates of `SearchResult`.

        features: N x D x G x G.
        filters: of N targets; None in modes without filters.
        gains: N x L, factors on the features of each level.
        reference_shape: N x 2, shape of the proposal that an unchanged target would get: the side of its context (crop
            pixels) and its ratio of width to height.
        """
        response = None if filters is None else self.response(features, filters, gains)
        return self.choose(features, found, response, reference_shape)

    def choose(self, features: Array, found: SearchOutput, response: Array | None, reference_shape: Array) -> Array:
        """Returns the candidates, given the response."""
        assert found.scores is not None and found.deltas is not None
        scores, deltas, before = (to_numpy(part) for part in (found.scores, found.deltas, reference_shape))
        maps: Any = [None] * len(scores) if response is None else to_numpy(response)[:, 0]
        rows = np.stack([self._array_choice(*parts) for parts in zip(scores, deltas, maps, before, strict=True)])
        return np.concatenate([rows, to_numpy(self.embeddings(features, rows[..., :4]))], 2)

    def embeddings(self, features: Array, boxes: Array) -> Array:
        """Returns the mean features in boxes as unit vectors, N x K x D, with equal weight for each level.

        features: N x D x G x G.
        boxes: N x K x 4 (cx, cy, w, h) in crop pixels relative to the middle.
        """
        maps = to_numpy(features)
        covered = coverage(to_numpy(boxes), self.config.grid)
        columns = maps.reshape(*maps.shape[:2], -1).swapaxes(1, 2)
        # A level at a time: for large products, NumPy's library starts threads that disturb those of the engine.
        means = [covered @ columns[..., start:end] for start, end in pairwise(accumulate(self.sections, initial=0))]
        return unit_vectors(np.concatenate(means, 2), self.sections)
