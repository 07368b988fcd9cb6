# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes where crops lie: affine maps from crop pixels to image pixels, for batches of targets.

An affine map is 2 x 3 and takes continuous crop coordinates (u, v, 1) to continuous image coordinates (x, y), as
``ImagePool.crop`` expects. The context of a target is SiamFC's, as in ``snscf_core.crops``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..crops import TEMPLATE_SIZE


class Framing(NamedTuple):
    """Describes how N crops deviate from a tracker's crops around a target whose box is exact.

    shift: N x 2 (x, y), the box's centre relative to the crop's middle, crop pixels
    scale: N x 2 factors on the box's width and height in the crop
    """

    shift: Tensor
    scale: Tensor

    def part(self, start: int, end: int) -> Framing:
        return Framing(self.shift[start:end], self.scale[start:end])


def context_sides(sizes: Tensor) -> Tensor:
    """Converts N x 2 sizes (w, h) to the N sides of template crops (``snscf_core.crops.context_side``)."""
    context = sizes.sum(1) / 2
    return ((sizes[:, 0] + context) * (sizes[:, 1] + context)).sqrt()


def affine_map(centre: Tensor, step: Tensor, turn: Tensor, middle: Tensor | float) -> Tensor:
    """Returns the N x 2 x 3 map with which the crop's pixel ``middle`` shows the image's point ``centre``.

    centre: N x 2, image pixels
    step: N x 2, image pixels per crop pixel along the crop's axes; a negative step mirrors
    turn: N, radians
    middle: N x 2, or one number for all
    """
    cosine, sine = turn.cos(), turn.sin()
    rotation = torch.stack([cosine, -sine, sine, cosine], 1).view(-1, 2, 2)
    linear = rotation * step[:, None, :]
    offset = centre - (linear * (middle[:, None, :] if isinstance(middle, Tensor) else middle)).sum(2)
    return torch.cat([linear, offset[..., None]], 2)


def target_map(boxes: Tensor, framing: Framing, mirrored: Tensor, size: int) -> Tensor:
    """Returns N x 2 x 3 maps for crops of ``size`` that show image boxes N x 4 (cx, cy, w, h) as ``framing`` says.

    mirrored: N, -1 where left and right are swapped, else 1
    """
    step = (context_sides(boxes[:, 2:]) / TEMPLATE_SIZE)[:, None] / framing.scale
    step = step * torch.stack([mirrored, torch.ones_like(mirrored)], 1)
    return affine_map(boxes[:, :2], step, torch.zeros_like(mirrored), framing.shift + size / 2)


def target_boxes(boxes: Tensor, framing: Framing) -> Tensor:
    """Returns the same boxes as they appear in those crops: N x 4, crop pixels relative to the crop's middle."""
    zoom = (TEMPLATE_SIZE / context_sides(boxes[:, 2:]))[:, None] * framing.scale
    return torch.cat([framing.shift, boxes[:, 2:] * zoom], 1)


def moved(maps: Tensor, by: Tensor | float) -> Tensor:
    """Returns maps of crops whose pixel u shows what pixel u + ``by`` (N x 2, or one number for all) showed."""
    linear = maps[..., :2]
    offset = maps[..., 2] + (linear * (by[:, None, :] if isinstance(by, Tensor) else by)).sum(2)
    return torch.cat([linear, offset[..., None]], 2)
