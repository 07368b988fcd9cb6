# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Resamples maps of features as if the crop had been cut elsewhere."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def resampling(grid: int, zoom: float, shift: float) -> npt.NDArray[np.float64]:
    """Returns the grid x grid matrix that resamples values along one axis.

    The result is what the values would be if the crop's side had been ``zoom`` times as long and its centre moved by
    ``shift`` cells. It interpolates linearly, and repeats the last values beyond the ends.
    """
    middle = (grid - 1) / 2
    at = ((np.arange(grid) - middle) * zoom + shift + middle).clip(0, grid - 1)
    return np.maximum(0.0, 1 - np.abs(at[:, None] - np.arange(grid)))
