# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Chooses several first frames and boxes in one sequence, because a single run may be decided by chance."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..boxes import Array


class Move(NamedTuple):
    """Describes how a given box differs from the true one.

    right, down: shares of its width and height
    scale: factor on both
    """

    right: float
    down: float
    scale: float


MOVES = (
    Move(0.0, 0.0, 1.0),
    Move(0.04, -0.03, 1.05),
    Move(-0.04, 0.03, 0.96),
    Move(0.03, 0.04, 1.0),
    Move(-0.03, -0.04, 1.02),
)


def moved(box: Array, move: Move) -> list[float]:
    """Moves a box (x, y, w, h) by shares of its size, and scales it about its middle."""
    x, y, w, h = box.tolist()
    right, down, scale = move
    return [x + w * (0.5 + right - scale / 2), y + h * (0.5 + down - scale / 2), w * scale, h * scale]


def first_frames(truth: Array, starts: int) -> list[int]:
    """Returns indices of ``starts`` first frames in the first half of a sequence, so that every run is at least half.

    truth: N x 4, NaN where the target is absent; the next frame with a true box is taken

    Raises ValueError if no frame has a true box.
    """
    there = np.flatnonzero(np.isfinite(truth).all(axis=1) & (truth[:, 2:] > 0).all(axis=1))
    if not there.size:
        raise ValueError("the target never appears")
    wanted = [start * len(truth) // (2 * starts) for start in range(starts)]
    return [int(there[min(int(np.searchsorted(there, frame)), len(there) - 1)]) for frame in wanted]
