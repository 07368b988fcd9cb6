# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Defines what an engine returns for search crops."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from ..arrays import Array


class SearchOutput(NamedTuple):
    """The network's output for N search crops, float32. Sizes are given for crops of 255 pixels.

    features: N x C x 31 x 31, input of the correlation filters: the reduced features of all levels side by side, or the
        backbone's taps if the heads are untrained.
    scores: N x 5 x 25 x 25 fused logits (eq 3), N x 1 x 15 x 15 from light heads; None without heads.
    deltas: N x 5 x 4 x 25 x 25 (eq 3), N x 1 x 4 x 15 x 15 from light heads; None without heads.
    """

    features: Array
    scores: Array | None
    deltas: Array | None


def output(features: Array, proposals: Array | None) -> SearchOutput:
    """Splits the result of a graph into features, scores and deltas."""
    if proposals is None:
        return SearchOutput(features, None, None)
    count, channels, *grid = proposals.shape
    anchors = channels // 5
    deltas = cast(Any, proposals[:, anchors:]).reshape(count, anchors, 4, *grid)
    return SearchOutput(features, proposals[:, :anchors], deltas)
