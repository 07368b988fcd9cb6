# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Spatially semantic features: the levels of the backbone on one spatial grid (paper section 3.4, eq 4).

Both backbones here have stride 8 on all three levels, so that these are on one grid as they come.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F


def spatially_semantic_features(levels: Sequence[Tensor], grid: int) -> list[Tensor]:
    """Each N x C_l x H_l x W_l level bilinearly resampled to N x C_l x grid x grid (eq 4, align_corners off).

    A level that already has that grid is returned as it is.
    """
    return [
        level
        if level.shape[-2:] == (grid, grid)
        else F.interpolate(level, size=(grid, grid), mode="bilinear", align_corners=False)
        for level in levels
    ]
