# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes the labels of each anchor, or each cell, for a whole batch of pairs at once, on its device.

Anchors are assigned as in SiamRPN++, cells without anchors as in SiamBAN (Chen et al., CVPR 2020).

Boxes are (cx, cy, w, h) in crop pixels relative to the middle of the search crop, as in ``rpn.anchors``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..model.geometry import STRIDE


@dataclass(frozen=True)
class LabelConfig:
    """Sets which anchors count, and how many (SiamRPN++), and which cells count (SiamBAN)."""

    positive_overlap: float = field(default=0.6, metadata={"help": "IoU from which on an anchor is the target"})
    negative_overlap: float = field(default=0.3, metadata={"help": "IoU up to which an anchor is background"})
    positives: int = field(default=16, metadata={"help": "most target anchors of a pair that count"})
    anchors: int = field(default=64, metadata={"help": "most anchors of a pair that count"})
    negatives: int = field(default=16, metadata={"help": "anchors that count in a pair without the target"})
    reach: int = field(default=3, metadata={"help": "largest distance of these from the object shown, in cells"})
    target_ellipse: float = field(
        default=0.5, metadata={"help": "a cell in the target's inscribed ellipse, shrunk by this, is the target"}
    )
    background_ellipse: float = field(
        default=1.0, metadata={"help": "a cell outside of that ellipse, scaled by this, is background"}
    )


@dataclass(frozen=True)
class AnchorLabels:
    """Holds the labels of N pairs.

    classes: N x 5 x C x C int8; 1 target, 0 background, -1 ignored
    deltas: N x 5 x 4 x C x C, decoding to the target's box; 0 in pairs without the target
    weights: N x 5 x C x C of the box loss; they sum to 1 in each pair that has target anchors
    """

    classes: Tensor
    deltas: Tensor
    weights: Tensor


def assign(
    box: Tensor, positive: Tensor, anchors: Tensor, keys: Tensor, config: LabelConfig = LabelConfig()
) -> AnchorLabels:
    """Labels the anchors of N pairs.

    box: N x 4 (cx, cy, w, h). Where ``positive`` is False, it is the box of the object shown instead, and background is
        sampled there. NaN stands for the middle.
    positive: N bool
    anchors: 5 x 4 x C x C
    keys: N x 5 x C x C random numbers in [0, 1); if too many anchors qualify, those with the largest keys are taken
    """
    near_other = _near(box[:, :2].float(), anchors.shape[-1], config.reach)
    # In a pair without the target the box may be NaN, which would spread through 0 * NaN.
    box = torch.where(positive[:, None], box.float(), box.new_ones(()))
    overlap = iou(box[:, None, :, None, None], anchors[None], 2)
    with_target = positive[:, None, None, None]
    targets = _chosen((overlap >= config.positive_overlap) & with_target, keys, config.positives)
    around = _chosen((overlap <= config.negative_overlap) & with_target, keys, config.anchors - config.positives)
    other = _chosen((near_other & ~with_target).expand_as(overlap), keys, config.negatives)

    classes = torch.full_like(overlap, -1, dtype=torch.int8).masked_fill(around | other, 0).masked_fill(targets, 1)
    deltas = encode(box[:, None, :, None, None], anchors[None]) * with_target[:, :, None]
    weights = targets.float()
    return AnchorLabels(classes, deltas, weights / weights.sum((1, 2, 3), keepdim=True).clamp(min=1))


def assign_cells(box: Tensor, positive: Tensor, cells: Tensor, config: LabelConfig = LabelConfig()) -> AnchorLabels:
    """Labels the cells of N pairs for a network with one box per cell.

    cells: 1 x 4 x C x C (see ``rpn.cell_boxes``)
    box, positive: as in `assign`

    Cells near the target's centre, and always the nearest one, are the target. Cells outside the ellipse in its box are
    background, as are all cells of pairs without the target.
    """
    box = torch.where(positive[:, None], box.float(), box.new_ones(()))
    offset = cells[None, :, :2] - box[:, None, :2, None, None]  # N x 1 x 2 x C x C
    distance = (offset / (box[:, None, 2:, None, None] / 2)).square().sum(2)
    spacing = (cells[0, 0, 0, 1] - cells[0, 0, 0, 0]) / 2
    nearest = (offset.abs() <= spacing).all(2)
    with_target = positive[:, None, None, None]
    targets = ((distance <= config.target_ellipse**2) | nearest) & with_target
    background = ((distance > config.background_ellipse**2) | ~with_target) & ~targets
    classes = torch.full_like(distance, -1, dtype=torch.int8).masked_fill(background, 0).masked_fill(targets, 1)
    deltas = encode(box[:, None, :, None, None], cells[None]) * with_target[:, :, None]
    weights = targets.float()
    return AnchorLabels(classes, deltas, weights / weights.sum((1, 2, 3), keepdim=True).clamp(min=1))


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Returns the deltas that ``rpn.decode`` turns into the boxes.

    Boxes and anchors broadcast; their numbers are in dim 2.
    """
    centre = (boxes[:, :, :2] - anchors[:, :, :2]) / anchors[:, :, 2:]
    size = (boxes[:, :, 2:] / anchors[:, :, 2:]).log()
    return torch.cat([centre, size], dim=2)


def iou(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Returns the IoU of boxes whose 4 numbers lie along ``dim``; the other dimensions broadcast."""
    intersection, union, _ = intersection_union_hull(a, b, dim)
    return intersection / union


def intersection_union_hull(a: Tensor, b: Tensor, dim: int = -1) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the areas of the intersection, of the union, and of the smallest box around both."""
    (ax, ay, aw, ah), (bx, by, bw, bh) = a.unbind(dim), b.unbind(dim)
    left, right = _reach(ax, aw, bx, bw)
    top, bottom = _reach(ay, ah, by, bh)
    intersection = left.clamp(min=0) * top.clamp(min=0)
    union = (aw * ah + bw * bh - intersection).clamp(min=1e-9)
    return intersection, union, (right * bottom).clamp(min=1e-9)


def _reach(a: Tensor, a_side: Tensor, b: Tensor, b_side: Tensor) -> tuple[Tensor, Tensor]:
    """Returns how far two segments on one axis overlap (negative: the gap), and how far they extend together."""
    a_low, a_high, b_low, b_high = a - a_side / 2, a + a_side / 2, b - b_side / 2, b + b_side / 2
    overlap = torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)
    return overlap, torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)


def _chosen(candidates: Tensor, keys: Tensor, count: int) -> Tensor:
    """Returns a mask of the ``count`` candidates of each pair with the largest keys, or of all if there are fewer."""
    # The shape does not depend on the number of candidates, so nothing waits for the device.
    ranked = keys.masked_fill(~candidates, -1.0).flatten(1)
    best, index = ranked.topk(min(count, ranked.shape[1]), dim=1)
    return torch.zeros_like(ranked, dtype=torch.bool).scatter(1, index, best >= 0).view_as(candidates)


def _near(centre: Tensor, cells: int, reach: int) -> Tensor:
    """Returns N x 1 x C x C: the cells at most ``reach`` in both directions from the cell at the centre.

    centre: N x 2, crop pixels relative to the middle; outside the map, its nearest cell counts; if not finite, the
        middle one
    """
    at = torch.where(centre.isfinite(), centre / STRIDE, 0.0).round().clamp(-(cells // 2), cells // 2)
    offset = torch.arange(cells, device=centre.device) - cells // 2
    across, down = ((offset - one[:, None]).abs() <= reach for one in at.unbind(1))
    return down[:, None, :, None] & across[:, None, None, :]
