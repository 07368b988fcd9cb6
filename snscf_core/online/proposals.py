# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Selects the candidates for the target: the best few proposals in each search region.

All tensors have fixed shapes and stay on one device, so that a GPU can record and replay the step and copies little
back. On a CPU, `array_choice` does the same in NumPy, because there calls into torch take longer than their arithmetic.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..engines import Engine
from ..engines.graph import SearchOutput
from ..model import acf
from ..model.backbones import STRIDE
from ..model.rpn import decode
from ..model.ssf import spatially_semantic_features
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

    features: Tensor
    candidates: Tensor | None


class Search:
    """Runs the network on search crops and selects candidates, all on the device."""

    def __init__(self, runtime: Engine, selector: ProposalSelector) -> None:
        self.runtime, self.selector = runtime, selector

    def __call__(
        self,
        crops: Tensor,
        kernels: Tensor | None = None,
        numerator: Tensor | None = None,
        denominator: Tensor | None = None,
        gains: Tensor | None = None,
        reference_shape: Tensor | None = None,
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

    def look(self, crops: Tensor, kernels: Tensor | None) -> tuple[SearchOutput, Tensor]:
        """Returns the network's output and the filters' input features, N x D x G x G."""
        found = self.runtime.search(crops, kernels)
        features, grid = found.features.contiguous(), self.selector.config.grid
        if features.shape[-1] != grid:
            (features,) = spatially_semantic_features([features], grid)
        return found, features


class ProposalSelector(nn.Module):
    """Ranks proposals by their scores, the filters' response at their centres, and their change of size and ratio.

    anchors: A x 4 x P x P, the boxes that the deltas are relative to.
    sections: number of channels of each level of the features.
    level_weights: L, weights of the levels' responses.
    """

    anchors: Tensor
    window_prior: Tensor
    window: Tensor
    level_weights: Tensor

    def __init__(
        self, config: TrackerConfig, mode: Mode, anchors: Tensor, sections: tuple[int, ...], level_weights: Tensor
    ) -> None:
        super().__init__()
        self.config, self.mode, self.sections = config, mode, sections
        self.share = config.response_share if mode.response_share is None else mode.response_share
        self.spacing = int(anchors[0, 0, 0, 1] - anchors[0, 0, 0, 0])  # crop pixels
        window_prior = acf.hann_window(anchors.shape[-1]) * config.window_influence
        for name, value in (
            ("anchors", anchors),
            ("window_prior", window_prior.flatten().repeat(len(anchors))),
            ("window", acf.hann_window(config.grid)),
            ("level_weights", level_weights),
        ):
            self.register_buffer(name, value, persistent=False)
        arrays = anchors.cpu().numpy(), self.window_prior.cpu().numpy()
        self._array_choice = ArrayChoice(config, mode.ranks_by_response, self.share, *arrays, self.spacing)

    def response(self, features: Tensor, filters: acf.FilterBank, gains: Tensor) -> Tensor:
        """Returns the weighted sum of the levels' responses (eq 9), N x 1 x G x G, for features N x D x G x G."""
        return acf.respond_bank(filters, features * self.window, gains, self.level_weights)

    def forward(
        self,
        features: Tensor,
        found: SearchOutput,
        filters: acf.FilterBank | None,
        gains: Tensor,
        reference_shape: Tensor,
    ) -> Tensor:
        """Returns the candidates of `SearchResult`.

        features: N x D x G x G.
        filters: of N targets; None in modes without filters.
        gains: N x L, factors on the features of each level.
        reference_shape: N x 2, shape of the proposal that an unchanged target would get: the side of its context (crop
            pixels) and its ratio of width to height.
        """
        response = None if filters is None else self.response(features, filters, gains)
        if features.device.type == "cpu":
            return self.by_arrays(features, found, response, reference_shape)
        return self.by_tensors(features, found, response, reference_shape)

    def by_arrays(
        self, features: Tensor, found: SearchOutput, response: Tensor | None, reference_shape: Tensor
    ) -> Tensor:
        """Returns the candidates, given the response, on a CPU."""
        assert found.scores is not None and found.deltas is not None
        scores, deltas, before = (part.numpy() for part in (found.scores, found.deltas, reference_shape))
        maps: Any = [None] * len(scores) if response is None else response[:, 0].numpy()
        rows = np.stack([self._array_choice(*parts) for parts in zip(scores, deltas, maps, before, strict=True)])
        covered = torch.from_numpy(coverage(rows[..., :4], self.config.grid))
        vectors = unit_vectors((covered @ features.flatten(2).transpose(1, 2)).numpy(), self.sections)
        return torch.from_numpy(np.concatenate([rows, vectors], 2))

    def by_tensors(
        self, features: Tensor, found: SearchOutput, response: Tensor | None, reference_shape: Tensor
    ) -> Tensor:
        """Returns the candidates, given the response, on any device and without waiting for it."""
        config = self.config
        assert found.scores is not None and found.deltas is not None
        boxes = decode(found.deltas, self.anchors).transpose(1, 2).flatten(2)  # N x 4 x M
        maps = found.scores.sigmoid()
        scores = ranking = maps.flatten(1)
        deciding = maps.amax(1)
        if response is None:
            sampled = agreement = torch.full_like(scores, torch.nan)
        else:
            # The paper combines eq 9's response with the boxes of eq 3: here, by sampling it at their centres.
            at = (boxes[:, :2] * (2 / (STRIDE * config.grid))).transpose(1, 2)[:, None]
            sampled = F.grid_sample(response, at, align_corners=False, padding_mode="zeros").flatten(1).clamp(0, 1)
            agreement = sampled / response.amax((1, 2, 3)).clamp(1e-6, 1)[:, None]
            if self.mode.ranks_by_response:
                ranking, deciding = sampled, response[:, 0]
            else:
                ranking = scores.lerp(sampled, self.share)
                deciding = ranking.view_as(maps).amax(1)
        spacing = STRIDE if self.mode.ranks_by_response else self.spacing
        quality = acf.peak_to_sidelobe_ratio(deciding, config.sidelobe // spacing)

        widths, heights = boxes[:, 2], boxes[:, 3]
        context = (widths + heights) / 2
        extent = ((widths + context) * (heights + context)).sqrt()
        sizes, ratios = extent / reference_shape[:, :1], widths / heights / reference_shape[:, 1:]
        change = _at_least_one(sizes) * _at_least_one(ratios)
        penalty = ((1 - change) * config.anchor_penalty).exp()  # 0 for an infinite change
        ranked, others = penalty * ranking, penalty * scores
        weights = (ranked if self.mode.ranks_by_response else others).square()
        values = torch.stack([ranked * config.size_rate, scores, sampled, agreement], 1)
        total, numbers = (1 - config.window_influence) * ranked + self.window_prior, []
        for _ in range(config.candidates):
            best = total.argmax(1, keepdim=True)
            box = merged(boxes, weights, best, config.merge_overlap)
            numbers.append(torch.cat([box, _at(values, best), quality[:, None]], 1))
            # The next candidate is the best elsewhere, ranked without the cosine window.
            near = ((boxes[:, :2] - box[:, :2, None]).abs() < box[:, 2:, None] / 2).all(1)
            total = others = others.masked_fill(near, -1.0)
        whole = torch.stack(numbers, 1)
        return torch.cat([whole, embeddings(features, whole[..., :4], self.sections)], 2)


def merged(boxes: Tensor, weights: Tensor, best: Tensor, overlap: float) -> Tensor:
    """Returns the weighted mean, N x 4, of the boxes whose IoU with the best box is larger than ``overlap``.

    boxes: N x 4 x M (cx, cy, w, h).
    weights: N x M.
    best: N x 1, index of the best box.
    """
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    areas = boxes[:, 2] * boxes[:, 3]
    sides = torch.minimum(high, _at(high, best)[..., None]) - torch.maximum(low, _at(low, best)[..., None])
    intersection = sides.clamp(min=0).prod(1)
    near = intersection > overlap * (areas + areas.gather(1, best) - intersection)
    shares = weights.clamp(min=1e-12) * near.scatter(1, best, True)
    return (boxes * shares[:, None]).sum(2) / shares.sum(1, keepdim=True)


def embeddings(features: Tensor, boxes: Tensor, sections: Sequence[int]) -> Tensor:
    """Returns the mean features in boxes as unit vectors, N x K x D, with equal weight for each level.

    features: N x D x G x G.
    boxes: N x K x 4 (cx, cy, w, h) in crop pixels relative to the middle.
    sections: number of channels of each level.
    """
    grid = features.shape[-1]
    middles = (torch.arange(grid, dtype=boxes.dtype, device=boxes.device) - (grid - 1) / 2) * STRIDE
    centre, reach = boxes[..., :2, None], boxes[..., 2:, None] / 2
    # How much of each column and row of cells the box covers.
    high, low = (centre + reach).minimum(middles + STRIDE / 2), (centre - reach).maximum(middles - STRIDE / 2)
    across, down = (high - low).clamp(min=1e-3).unbind(2)
    means = (down[..., :, None] * across[..., None, :]).flatten(2) @ features.flatten(2).transpose(1, 2)
    levels = [F.normalize(level, dim=2) for level in means.split(list(sections), 2)]
    return torch.cat(levels, 2) / len(levels) ** 0.5


def _at(values: Tensor, index: Tensor) -> Tensor:
    """Returns the values (N x C x M) at an index (N x 1), as N x C."""
    return values.gather(2, index[:, None].expand(-1, values.shape[1], -1))[..., 0]


def _at_least_one(ratio: Tensor) -> Tensor:
    return ratio.maximum(1 / ratio)
