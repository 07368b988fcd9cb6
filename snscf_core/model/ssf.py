# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes spatially semantic features: the backbone's levels on one spatial grid (paper section 3.4, eq 4).

ResNet-50 here has stride 8 on all levels, so its levels share a grid already. FBNet-C has levels of stride 8 and 16.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def spatially_semantic_features(levels: Sequence[Tensor], grid: int) -> list[Tensor]:
    """Resamples each N x C_l x H_l x W_l level bilinearly to N x C_l x grid x grid (eq 4).

    A level that already has that grid is returned unchanged. A level of (grid - 1) / 2 cells has twice the stride: its
    cell ``k`` lies on cell ``2 k + 1`` of the grid, and the grid's outermost cells repeat their neighbours. Any other
    level is stretched to the grid, with align_corners off.
    """
    return [_resampled(level, grid) for level in levels]


def _resampled(level: Tensor, grid: int) -> Tensor:
    height, width = level.shape[-2:]
    if (height, width) == (grid, grid):
        return level
    if height == width == (grid - 1) // 2 and grid % 2 == 1:
        between = F.interpolate(level, size=(grid - 2, grid - 2), mode="bilinear", align_corners=True)
        return F.pad(between, (1, 1, 1, 1), mode="replicate")
    return F.interpolate(level, size=(grid, grid), mode="bilinear", align_corners=False)
