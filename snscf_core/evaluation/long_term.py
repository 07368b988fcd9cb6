# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""How well a tracker knows where its target is not: long-term measures, events of loss and return, calibration.

Sources: tracking precision, recall and F-score of the VOT-LT challenges (Lukežič et al., "Now you see me: evaluating
performance in long-term visual tracking", 2018); expected calibration error (Naeini et al., 2015).

For N frames: overlaps with the true box, NaN where the target is absent; scores in [0, 1]; reported, whether the
tracker says that it has the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..boxes import Array

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LongTermScores:
    """The largest F-score over all thresholds on the score; precision, recall and that threshold. All in [0, 1]."""

    f_score: float
    precision: float
    recall: float
    threshold: float


def f_score(overlaps: Sequence[npt.ArrayLike], scores: Sequence[npt.ArrayLike]) -> LongTermScores:
    """VOT-LT's measures over the frames of all sequences, each an array of its own.

    At a threshold, precision is the mean overlap of the frames in which the tracker reports a target, 0 where there is
    none; recall is the mean overlap over all frames with a target, 0 where none is reported. Raises ValueError if there
    is no frame with a target, or the numbers of frames differ.
    """
    overlap = np.concatenate([np.asarray(one, np.float64) for one in overlaps] or [np.empty(0)])
    score = np.concatenate([np.asarray(one, np.float64) for one in scores] or [np.empty(0)])
    if overlap.shape != score.shape:
        raise ValueError(f"there are {overlap.size} overlaps but {score.size} scores")
    present = ~np.isnan(overlap)
    if not present.any():
        raise ValueError("there is no frame with a target")
    order = np.argsort(-score, kind="stable")
    reported = np.arange(1, len(order) + 1)
    summed = np.nan_to_num(overlap[order]).cumsum()
    precision, recall = summed / reported, summed / present.sum()
    together = precision + recall
    f = np.where(together > 0, 2 * precision * recall / np.where(together > 0, together, 1), 0.0)
    # frames of equal score are reported together
    last = np.append(np.diff(score[order]) != 0, True)
    best = int(np.argmax(np.where(last, f, -1.0)))
    return LongTermScores(float(f[best]), float(precision[best]), float(recall[best]), float(score[order][best]))


@dataclass(frozen=True)
class Events:
    """returns: how often the target came back after an absence; found: how often it was reported again, on the target,
    within the time given. absences: how many there were; false: in how many the tracker reported a target."""

    returns: int
    found: int
    absences: int
    false: int

    def __add__(self, other: Events) -> Events:
        return Events(
            self.returns + other.returns,
            self.found + other.found,
            self.absences + other.absences,
            self.false + other.false,
        )


def events(
    overlaps: npt.ArrayLike,
    reported: npt.ArrayLike,
    *,
    within: int,
    shortest: int = 5,
    grace: int = 5,
    enough: float = 0.5,
) -> Events:
    """Losses and returns in one sequence.

    An absence is a stretch of at least ``shortest`` frames without a true box. It ends in a return if the target is
    then there for ``within`` frames, or to the end if that comes sooner; the return is found if in one of them it is
    reported with an overlap of more than ``enough``. The absence has a false report if the tracker reports a target in
    any of its frames but the first ``grace``, whether it never noticed or took something else for the target.
    """
    overlap = np.asarray(overlaps, np.float64)
    says = np.asarray(reported, bool)
    absent = np.isnan(overlap)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], absent, [False]]).astype(int)))
    counts = Events(0, 0, 0, 0)
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        if end - start < shortest:
            continue
        counts += Events(0, 0, 1, int(says[start + grace : end].any()))
        back = slice(end, end + within)
        if end < len(overlap) and not absent[back].any():
            hit = says[back] & (np.nan_to_num(overlap[back]) > enough)
            counts += Events(1, int(hit.any()), 0, 0)
    return counts


@dataclass(frozen=True)
class Reliability:
    """A reliability diagram of B bins of equal width: mean score, share of hits and number of frames in each (NaN and 0
    for empty ones), and the expected calibration error: the mean distance of the first two, weighted by the third."""

    scores: Array
    hits: Array
    counts: npt.NDArray[np.int64]
    error: float


def reliability(scores: npt.ArrayLike, hits: npt.ArrayLike, bins: int = 10) -> Reliability:
    """How far scores are probabilities of ``hits`` (N bool). Raises ValueError for none, or scores outside [0, 1]."""
    score, hit = np.asarray(scores, np.float64), np.asarray(hits, bool)
    if not score.size or score.shape != hit.shape:
        raise ValueError(f"there are {score.size} scores and {hit.size} hits; both must be equally many and some")
    if not ((score >= 0) & (score <= 1)).all():
        raise ValueError("scores must be in [0, 1]")
    place = np.minimum((score * bins).astype(int), bins - 1)
    counts = np.bincount(place, minlength=bins)
    filled = np.where(counts > 0, counts, 1)

    def average(values: Array) -> Array:
        sums = np.bincount(place, weights=values, minlength=bins)
        return np.where(counts > 0, sums / filled, np.nan)

    means, shares = average(score), average(hit.astype(np.float64))
    error = float(np.nansum(np.abs(means - shares) * counts) / counts.sum())
    return Reliability(means, shares, counts.astype(np.int64), error)
