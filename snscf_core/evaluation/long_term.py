# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measures how well a tracker knows that its target is absent: long-term scores, losses and returns, calibration.

Sources: tracking precision, recall and F-score of the VOT-LT challenges (Lukežič et al., "Now you see me: evaluating
    performance in long-term visual tracking", 2018); expected calibration error (Naeini et al., 2015).

Arguments for N frames:

overlaps: IoU with the true box, NaN where the target is absent
scores: in [0, 1]
reported: whether the tracker says that it has the target
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
    """Holds the largest F-score over all score thresholds, with its precision, recall and threshold.

    All are in [0, 1].
    """

    f_score: float
    precision: float
    recall: float
    threshold: float


def f_score(overlaps: Sequence[npt.ArrayLike], scores: Sequence[npt.ArrayLike]) -> LongTermScores:
    """Returns VOT-LT's measures over the frames of all sequences, each an array of its own.

    At a threshold, precision is the mean overlap of the frames with a reported target, where a frame without a true
    target counts 0. Recall is the mean overlap over all frames with a true target, where an unreported one counts 0.
    Raises ValueError if no frame has a target, or the numbers of frames differ.
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
    """Counts losses and returns.

    returns: how often the target came back after an absence
    found: how often it was then reported again, on the target, within the given time
    absences: how many there were
    false: in how many absences the tracker reported a target
    """

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
    """Counts losses and returns in one sequence.

    An absence is a stretch of at least ``shortest`` frames without a true box. It ends in a return if the target then
    stays for ``within`` frames, or to the end if that comes sooner. The return is found if the tracker reports it in
    one of these frames with an overlap above ``enough``. The absence has a false report if the tracker reports a target
    in any of its frames after the first ``grace``, whether it missed the loss or followed something else.
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
    """Holds a reliability diagram of B bins of equal width.

    scores: B mean scores, NaN for empty bins
    hits: B shares of hits, NaN for empty bins
    counts: B numbers of frames
    error: expected calibration error, the mean distance of scores and hits, weighted by counts
    """

    scores: Array
    hits: Array
    counts: npt.NDArray[np.int64]
    error: float


def reliability(scores: npt.ArrayLike, hits: npt.ArrayLike, bins: int = 10) -> Reliability:
    """Measures how well scores predict the probability of ``hits`` (N bool).

    Raises ValueError if there are no scores, more or fewer than hits, or some outside [0, 1].
    """
    score, hit = np.asarray(scores, np.float64), np.asarray(hits, bool)
    if not score.size or score.shape != hit.shape:
        raise ValueError(f"there are {score.size} scores and {hit.size} hits; expected equally many, at least one")
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
