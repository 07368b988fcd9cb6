# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes the losses in float32: the paper's "standard smooth loss (2) + correlation filter loss (7)".

Classification and boxes are judged on the fused proposals of eq 3. The filters are judged on the weighted sum of their
responses (eq 9), made with the same closed form, windows and label as online.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model import acf
from ..model.geometry import STRIDE
from ..model.rpn import Proposals, decode
from ..model.ssf import spatially_semantic_features
from ..online.config import TrackerConfig
from .labels import AnchorLabels, intersection_union_hull, iou
from .siamese import Outputs

BOX_LOSSES = ("smooth_l1", "giou", "diou")
CLASS_LOSSES = ("logistic", "focal")


@dataclass(frozen=True)
class LossConfig:
    """Sets the weights of the terms, and their forms."""

    class_weight: float = field(default=1.0, metadata={"help": "weight of the classification loss"})
    class_loss: str = field(
        default="logistic", metadata={"help": "form of the classification loss", "choices": CLASS_LOSSES}
    )
    box_weight: float = field(default=1.2, metadata={"help": "weight of the box loss (SiamRPN++: 1.2)"})
    ridge_weight: float = field(default=0.2, metadata={"help": "weight of the filters' loss; 0 leaves the filters out"})
    level_weight: float = field(default=0.0, metadata={"help": "weight of all terms on each level alone"})
    box_loss: str = field(default="smooth_l1", metadata={"help": "form of the box loss", "choices": BOX_LOSSES})
    smooth_l1_beta: float = field(default=1 / 9, metadata={"help": "where smooth L1 turns linear, in deltas"})
    ridge_every: int = field(default=2, metadata={"help": "every n-th pair goes through the filters' loss"})
    teacher_weight: float = field(
        default=1.0, metadata={"help": "weight of the difference from the teacher's scores and boxes, with a teacher"}
    )

    def __post_init__(self) -> None:
        if self.box_loss not in BOX_LOSSES:
            raise ValueError(f"unknown box loss {self.box_loss!r}; there are {', '.join(BOX_LOSSES)}")
        if self.class_loss not in CLASS_LOSSES:
            raise ValueError(f"unknown classification loss {self.class_loss!r}; there are {', '.join(CLASS_LOSSES)}")
        if self.ridge_every < 1:
            raise ValueError(f"ridge_every must be at least 1, got {self.ridge_every}")


class Losses(NamedTuple):
    """Holds scalar losses: ``total`` is the weighted sum, the others are unweighted."""

    total: Tensor
    classification: Tensor
    box: Tensor
    ridge: Tensor


def classification_loss(
    scores: Tensor, classes: Tensor, average: Callable[[Tensor], Tensor] = lambda count: count
) -> Tensor:
    """Returns the logistic loss of logits N x 5 x C x C: the average of the targets' mean and the background's mean.

    ``average`` returns the mean of a tensor over all processes. The mean of their losses then equals the loss of one
    process with all pairs.
    """
    positive, negative = classes == 1, classes == 0
    counts = average(torch.stack([positive.sum(), negative.sum()]).float())
    sums = torch.stack([(F.softplus(-scores) * positive).sum(), (F.softplus(scores) * negative).sum()])
    return 0.5 * (sums / torch.where(counts > 0, counts, 1)).sum()


def focal_loss(scores: Tensor, classes: Tensor, average: Callable[[Tensor], Tensor] = lambda count: count) -> Tensor:
    """Returns the focal loss (Lin et al., ICCV 2017; alpha 0.25, gamma 2) of logits, per target cell.

    Arguments are as in ``classification_loss``.
    """
    positive, negative = classes == 1, classes == 0
    probability = scores.sigmoid()
    missed = 0.25 * (1 - probability).square() * F.softplus(-scores) * positive
    alarms = 0.75 * probability.square() * F.softplus(scores) * negative
    return (missed.sum() + alarms.sum()) / average(positive.sum().float()).clamp(min=1)


def box_loss(
    deltas: Tensor,
    labels: AnchorLabels,
    anchors: Tensor,
    config: LossConfig,
    average: Callable[[Tensor], Tensor] = lambda count: count,
) -> Tensor:
    """Returns the mean box loss: over each pair's target anchors, then over the pairs that have any.

    Smooth L1 is summed over the four deltas. GIoU (Rezatofighi et al., 2019) and DIoU (Zheng et al., 2020) are between
    the decoded boxes. ``average`` is as in ``classification_loss``.
    """
    if config.box_loss == "smooth_l1":
        each = F.smooth_l1_loss(deltas, labels.deltas, reduction="none", beta=config.smooth_l1_beta).sum(2)
    else:
        predicted, truth = decode(deltas, anchors), decode(labels.deltas, anchors)
        intersection, union, hull = intersection_union_hull(predicted, truth, 2)
        each = 1 - intersection / union
        if config.box_loss == "giou":
            each = each + 1 - union / hull
        else:
            distance = (predicted[:, :, :2] - truth[:, :, :2]).square().sum(2)
            each = each + distance / _diagonal(predicted, truth)
    pairs = average((labels.weights.sum((1, 2, 3)) > 0).float().sum())
    # An ignored box may be infinite, and 0 * inf is NaN.
    chosen = torch.where(labels.weights > 0, each, 0.0)
    return (chosen * labels.weights).sum() / torch.where(pairs > 0, pairs, 1)


def teacher_loss(
    proposals: Proposals,
    scores: Tensor,
    boxes: Tensor,
    anchors: Tensor,
    box_weight: float,
    average: Callable[[Tensor], Tensor] = lambda count: count,
) -> Tensor:
    """Returns the difference from a teacher's scores (N x 1 x C x C, 0 to 1 or NaN) and boxes.

    Boxes are N x 1 x 4 x C x C, crop pixels. Scores are judged by the quality focal loss (Li et al., Generalized Focal
    Loss, NeurIPS 2020; beta 2), boxes by 1 - GIoU, weighted by the teacher's score. Both are sums over the cells,
    relative to the sum of the teacher's scores.
    """
    known = scores.isfinite()
    soft = torch.where(known, scores, 0.0)
    distance = (proposals.scores.sigmoid() - soft).square()
    entropy = F.binary_cross_entropy_with_logits(proposals.scores, soft, reduction="none")
    sure = soft * (soft >= 0.3)
    # Other boxes may be infinite, and 0 * inf is NaN, in gradients too.
    deltas = torch.where(sure[:, :, None] > 0, proposals.deltas, 0.0)
    intersection, union, hull = intersection_union_hull(decode(deltas, anchors), boxes, 2)
    apart = 2 - intersection / union - union / hull
    return ((distance * entropy * known).sum() + box_weight * (apart * sure).sum()) / average(soft.sum()).clamp(min=1)


def responses(
    context: Sequence[Tensor], search: Sequence[Tensor], size: Tensor, config: TrackerConfig
) -> tuple[list[Tensor], Tensor]:
    """Returns each level's filter response on its search features, learned on its context features as online.

    context, search: one N x C x 31 x 31 tensor per level; the context is centred on the target
    size: N x 2 (width, height) of the target, crop pixels

    Returns N x 1 x grid x grid per level, and the label's standard deviation (N, in cells), in float32, or in float64
    if the features are.
    """
    grid = config.grid
    cells = size / STRIDE
    sigma = config.label_sigma * (cells[:, 0] * cells[:, 1]).sqrt()
    label = acf.gaussian_label(grid, acf.fft_size(grid), sigma[:, None].expand(-1, 2))
    shape = acf.gaussian_label(grid, grid, cells.flip(1) * config.learning_window)
    window = _hann_window(grid, size.device)
    out = []
    levels = [spatially_semantic_features([_precise(level) for level in side], grid) for side in (context, search)]
    for z, x in zip(*levels, strict=True):
        gain = z.square().sum(1).mean((1, 2)).clamp(min=1e-12).rsqrt()[:, None, None, None]
        learned = acf.learn(z * (window * gain * shape), label, config.regularisation * grid**2)
        out.append(acf.respond(learned, x * (window * gain)))
    return out, sigma


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


@lru_cache(maxsize=8)
def _hann_window(cells: int, device: torch.device) -> Tensor:
    """Caches the window on its device: every copy to a GPU would wait for it."""
    return torch.from_numpy(acf.hann_window(cells)).to(device)


def response_label(box: Tensor, positive: Tensor, sigma: Tensor, grid: int) -> Tensor:
    """Returns N x 1 x grid x grid: a Gaussian at the target (N x 4, crop pixels), and 0 in pairs without it."""
    offset = torch.arange(grid, device=box.device) - (grid - 1) / 2
    centre = torch.where(positive[:, None], box[:, :2].float() / STRIDE, 0.0)
    across, down = (torch.exp(-((offset - c[:, None]) ** 2) / (2 * sigma[:, None] ** 2)) for c in centre.unbind(1))
    return (down[:, None, :, None] * across[:, None, None, :]) * positive[:, None, None, None]


def ridge_loss(response: Tensor, label: Tensor, sigma: Tensor) -> Tensor:
    """Returns eq 7's squared error, relative to the energy of a label in the middle.

    A response of 0 costs 1 in every pair that has the target inside the map.
    """
    energy = torch.pi * sigma.square()
    return ((response - label).square().sum((1, 2, 3)) / energy).mean()


def pair_losses(
    outputs: Outputs,
    labels: AnchorLabels,
    box: Tensor,
    positive: Tensor,
    size: Tensor | None,
    anchors: Tensor,
    config: LossConfig,
    filters: TrackerConfig,
    average: Callable[[Tensor], Tensor] = lambda count: count,
    teacher: tuple[Tensor, Tensor] | None = None,
) -> Losses:
    """Computes all terms for N pairs.

    box, positive: N x 4 and N, as for ``labels.assign``
    size: N x 2 (width, height, crop pixels) of the target in its context crop; needed if the outputs have one
    teacher: scores and boxes as for `teacher_loss`
    """

    def terms(proposals: Proposals, response: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        classification = focal_loss if config.class_loss == "focal" else classification_loss
        return (
            classification(proposals.scores, labels.classes, average),
            box_loss(proposals.deltas, labels, anchors, config, average),
            box.new_zeros(()) if response is None else ridge_loss(response, truth, sigma),
        )

    def weighted(parts: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        classification, boxes, ridge = parts
        return config.class_weight * classification + config.box_weight * boxes + config.ridge_weight * ridge

    level_responses: list[Tensor] = []
    fused_response = None
    if outputs.context and size is not None:
        every = config.ridge_every
        level_responses, sigma = responses(outputs.context, outputs.search, size[::every], filters)
        truth = response_label(box[::every], positive[::every], sigma, filters.grid)
        shares = outputs.response_weights.view(-1, 1, 1, 1, 1)
        fused_response = (shares * torch.stack(level_responses)).sum(0)
    fused = terms(outputs.fused, fused_response)
    total = weighted(fused)
    if teacher is not None:
        weight = config.teacher_weight
        total = total + weight * teacher_loss(outputs.fused, *teacher, anchors, config.box_weight, average)
    if config.level_weight > 0:
        alone = zip_longest(outputs.levels, level_responses)
        total = total + config.level_weight / len(outputs.levels) * sum(weighted(terms(*level)) for level in alone)
    return Losses(total, *fused)


def best_overlap(proposals: Proposals, box: Tensor, positive: Tensor, anchors: Tensor) -> Tensor:
    """Returns the mean IoU of the best-scored proposal with the target, over positive pairs (0 if all are negative)."""
    best = proposals.scores.flatten(1).argmax(1)
    boxes = decode(proposals.deltas, anchors).permute(0, 2, 1, 3, 4).flatten(2)
    chosen = boxes.gather(2, best[:, None, None].expand(-1, 4, 1))[..., 0]
    overlap = torch.where(positive, iou(chosen, torch.where(positive[:, None], box, 1.0)), 0.0)
    return overlap.sum() / positive.sum().clamp(min=1)


def _diagonal(a: Tensor, b: Tensor) -> Tensor:
    """Returns the squared diagonal of the smallest box around both; boxes' numbers in dimension 2."""
    low = torch.minimum(a[:, :, :2] - a[:, :, 2:] / 2, b[:, :, :2] - b[:, :, 2:] / 2)
    high = torch.maximum(a[:, :, :2] + a[:, :, 2:] / 2, b[:, :, :2] + b[:, :, 2:] / 2)
    return (high - low).square().sum(2).clamp(min=1e-9)
