# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Does the same as `proposals.ProposalSelector` with tensors of torch, on a GPU.

All tensors have fixed shapes and stay on one device, so that a GPU can record and replay the step and copies little
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from ..arrays import Array, as_array, resampled
from ..engines.search_output import SearchOutput
from ..model import acf
from ..model.geometry import STRIDE
from ..model.rpn import decode
from .array_choice import PEAK_REACH
from .proposals import ProposalSelector


class TensorSelector(ProposalSelector):
    """Ranks proposals as its base class does."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        device = given[-1]
        self.window: Any = as_array(acf.hann_window(self.config.grid), device)
        self.anchors: Any = as_array(self._anchors, device)
        self.window_prior: Any = as_array(self._window_prior, device)

    def response(self, features: Any, filters: acf.FilterBank, gains: Array, views: Array | None = None) -> Array:
        """See `ProposalSelector`."""
        seen: Any = features if views is None else resampled(features, views)
        return acf.respond_bank(filters, seen * self.window, gains, self.level_weights)

    def choose(self, features: Any, found: SearchOutput, response: Any, reference_shape: Any) -> Tensor:
        """Returns the candidates, given the response, without waiting for the device."""
        config = self.config
        logits, deltas = cast("tuple[Tensor, Tensor]", (found.scores, found.deltas))
        boxes = decode(deltas, self.anchors).transpose(1, 2).flatten(2)  # N x 4 x M
        maps = logits.sigmoid()
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
            # The next candidate is the best elsewhere, ranked without the cosine window.
            near = ((boxes[:, :2] - box[:, :2, None]).abs() < box[:, 2:, None] / 2).all(1)
            total = others = others.masked_fill(near, -1.0)
            if response is not None and self.correction:
                box = torch.cat([box[:, :2] + self.correction * to_peaks(response[:, 0], box[:, :2]), box[:, 2:]], 1)
            numbers.append(torch.cat([box, _at(values, best), quality[:, None]], 1))
        whole = torch.stack(numbers, 1)
        return torch.cat([whole, embeddings(features, whole[..., :4], self.sections)], 2)

    def embeddings(self, features: Array, boxes: Array) -> Array:
        """See `ProposalSelector`."""
        return embeddings(features, boxes, self.sections)  # type: ignore[arg-type]


def to_peaks(responses: Tensor, centres: Tensor) -> Tensor:
    """Does the same as `array_choice.to_peak` for N regions; returns N x 2.

    responses: N x G x G.
    centres: N x 2.
    """
    grid = responses.shape[-1]
    at = centres / STRIDE + (grid - 1) / 2
    cells = torch.arange(grid, dtype=at.dtype, device=at.device)
    inside = (cells >= 1) & (cells <= grid - 2)
    across, down = (((cells - at.round()[..., None]).abs() <= PEAK_REACH) & inside).unbind(1)
    beside = down[:, :, None] & across[:, None, :]
    flat = responses.flatten(1)
    peak = flat.masked_fill(~beside.flatten(1), -torch.inf).argmax(1, keepdim=True)
    peak = peak.clamp(grid + 1, grid * grid - grid - 2)  # without a cell beside the centre: any that has neighbours
    here, row, column = flat.gather(1, peak), peak // grid, peak % grid
    left, right = (flat.gather(1, peak + step) for step in (-1, 1))
    above, below = (flat.gather(1, peak + step) for step in (-grid, grid))
    place = torch.cat([column + _vertex(left, here, right), row + _vertex(above, here, below)], 1)
    return torch.where(beside.flatten(1).any(1, keepdim=True), (place - at) * STRIDE, 0.0)


def _vertex(before: Tensor, at: Tensor, after: Tensor) -> Tensor:
    """Does the same as `array_choice.vertex`."""
    curvature = before - 2 * at + after
    return torch.where(curvature < 0, 0.5 * (before - after) / curvature, 0.0).clamp(-0.5, 0.5)


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
