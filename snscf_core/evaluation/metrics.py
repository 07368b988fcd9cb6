# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Computes one-pass measures (success, precision, normalised precision, overlap) as the benchmarks' own kits do.

Boxes are N x 4, ``(x, y, w, h)``; NaN where the target is absent (truth) or where a tracker gave no box (prediction).
`Rules` say how a kit treats the first frame, absent targets and sequences of different lengths.

Sources: OTB (Wu et al., 2013 and 2015), UAV123 (Mueller et al., 2016), LaSOT (Fan et al., 2019), GOT-10k (Huang et al.,
    2019), normalised precision from TrackingNet (Müller et al., 2018); and their published evaluation code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt

from ..boxes import Array, iou, xywh_to_cxcywh

OVERLAP_THRESHOLDS = np.linspace(0, 1, 21)
ERROR_THRESHOLDS = np.arange(51.0)  # pixels
NORMALISED_THRESHOLDS = np.arange(51) / 100  # of the true width and height
_PRECISION, _NORMALISED = 20, 20  # indices of the two single figures on those: 20 pixels, 0.2


@dataclass(frozen=True)
class Rules:
    """Sets which frames count, and how.

    first: the frame with the given box: ``truth`` (counts as the true box, whatever the result says), ``scored`` (as in
        the result) or ``left_out``
    absent: frames without a true box: ``left_out``, ``missed`` (they count and are never a success) or ``precise``
        (missed, but a hit of precision: the kit gives them an error of -1)
    repeated: an invalid box in the result is replaced by the one before
    pooled: every frame counts the same, rather than every sequence
    bounded: boxes are clipped to the image before they are compared
    """

    first: Literal["truth", "scored", "left_out"] = "truth"
    absent: Literal["left_out", "missed", "precise"] = "left_out"
    repeated: bool = False
    pooled: bool = False
    bounded: bool = False


RULES = {
    "plain": Rules(first="scored"),
    "otb": Rules(absent="missed", repeated=True),
    "uav123": Rules(first="scored", absent="missed", repeated=True),
    "lasot": Rules(absent="missed", repeated=True),
    "got10k": Rules(first="left_out", pooled=True, bounded=True),
}


@dataclass(frozen=True)
class Scores:
    """Holds the result on one sequence, or the mean over several. All but frames and centre_error are in [0, 1].

    frames: number of frames that count
    overlap_success: share with IoU > 0.5
    overlap_success_75: share with IoU > 0.75
    precision: share with a centre error <= 20 px
    normalised_precision: share with a centre error <= 0.2 of the true width and height
    centre_error: mean in pixels, over the frames with a true box
    """

    frames: int
    success_auc: float
    overlap_success: float
    overlap_success_75: float
    average_overlap: float
    precision: float
    normalised_precision: float
    centre_error: float


MEASURES = {
    "success_auc": "AUC",
    "overlap_success": "OS@0.5",
    "overlap_success_75": "OS@0.75",
    "average_overlap": "AO",
    "precision": "P@20",
    "normalised_precision": "NP@0.2",
    "centre_error": "CLE",
}
GOT10K_NAMES = {"average_overlap": "AO", "overlap_success": "SR@0.5", "overlap_success_75": "SR@0.75"}


@dataclass(frozen=True)
class Frames:
    """Holds the data of the measures for the M frames that count.

    overlaps: M, 0 to 1
    errors: M centre errors in pixels
    normalised_errors: M centre errors relative to the true size
    found: M bool, frames with a true box
    """

    overlaps: Array
    errors: Array
    normalised_errors: Array
    found: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Curves:
    """Holds the three plots, as shares of frames; NaN without frames.

    success: over `OVERLAP_THRESHOLDS` (21)
    precision: over `ERROR_THRESHOLDS` (51)
    normalised_precision: over `NORMALISED_THRESHOLDS` (51)
    """

    success: Array
    precision: Array
    normalised_precision: Array


def success_auc(overlaps: npt.ArrayLike) -> float:
    """Returns the area under the success plot: the mean share of overlaps above each of 21 thresholds."""
    return float(_above(np.asarray(overlaps, np.float64)).mean())


def compare(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    rules: Rules = RULES["plain"],
    frame_size: tuple[int, int] | None = None,
) -> Frames:
    """Returns overlaps and errors of the frames that count by these rules.

    ``frame_size``: (width, height), needed if rules are bounded. Raises ValueError if the boxes are not N x 4 and
        equally many, or the frame size is missing.
    """
    boxes, true = np.array(predicted, np.float64), np.array(truth, np.float64)
    if boxes.shape != true.shape or boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"predicted boxes {boxes.shape} and true boxes {true.shape} must both be N x 4")
    if rules.repeated:
        _repeat(boxes)
    if rules.first == "truth":
        boxes[:1] = true[:1]
    elif rules.first == "left_out":
        boxes, true = boxes[1:], true[1:]
    found: npt.NDArray[np.bool_] = np.asarray(np.isfinite(true).all(axis=1))
    if rules.absent == "left_out":
        boxes, true, found = boxes[found], true[found], found[found]
    if rules.bounded:
        if frame_size is None:
            raise ValueError("these rules clip boxes to the image, so its size is needed")
        overlaps = iou(_bounded(boxes, frame_size), _bounded(true, frame_size))
    else:
        overlaps = iou(boxes, true)
    difference = xywh_to_cxcywh(boxes)[:, :2] - xywh_to_cxcywh(true)[:, :2]
    # A frame without a box from the tracker (NaN) has overlap 0 and an infinite error.
    absent_error = -1.0 if rules.absent == "precise" else np.inf

    def length(of: Array) -> Array:
        return np.where(found, np.nan_to_num(np.hypot(of[:, 0], of[:, 1]), nan=np.inf), absent_error)

    return Frames(
        np.where(found, np.nan_to_num(overlaps, nan=0.0), -1.0),
        length(difference),
        length(difference / np.where(true[:, 2:] > 0, true[:, 2:], 1.0)),
        found,
    )


def scores_of(frames: Frames) -> Scores:
    """Computes all measures of the frames of one sequence."""
    curves = curves_of(frames)
    errors = frames.errors[frames.found]
    return Scores(
        frames=len(frames.overlaps),
        success_auc=float(curves.success.mean()),
        overlap_success=_share(frames.overlaps > 0.5),
        overlap_success_75=_share(frames.overlaps > 0.75),
        average_overlap=float(np.maximum(frames.overlaps, 0).mean()) if len(frames.overlaps) else float("nan"),
        precision=float(curves.precision[_PRECISION]),
        normalised_precision=float(curves.normalised_precision[_NORMALISED]),
        centre_error=float(errors.mean()) if errors.size else float("nan"),
    )


def curves_of(frames: Frames) -> Curves:
    """Computes the three plots of one sequence."""
    if not len(frames.overlaps):
        return Curves(*(np.full(len(t), np.nan) for t in (OVERLAP_THRESHOLDS, ERROR_THRESHOLDS, NORMALISED_THRESHOLDS)))
    return Curves(
        _above(frames.overlaps),
        (frames.errors[:, None] <= ERROR_THRESHOLDS).mean(axis=0),
        (frames.normalised_errors[:, None] <= NORMALISED_THRESHOLDS).mean(axis=0),
    )


def score(
    predicted: npt.ArrayLike,
    truth: npt.ArrayLike,
    rules: Rules = RULES["plain"],
    frame_size: tuple[int, int] | None = None,
) -> Scores:
    """Computes all measures of one sequence. Raises as `compare` does."""
    return scores_of(compare(predicted, truth, rules, frame_size))


def mean(scores: Sequence[Scores], pooled: bool = False) -> Scores:
    """Averages over sequences regardless of their lengths, or over frames if ``pooled``; ``frames`` is the sum.

    Sequences without frames that count are ignored. Raises ValueError for an empty list.
    """
    if not scores:
        raise ValueError("there are no scores to average")
    counted = [one for one in scores if one.frames]
    weights = np.array([one.frames if pooled else 1.0 for one in counted])

    def average(name: str) -> float:
        values = np.array([getattr(one, name) for one in counted], np.float64)
        known = ~np.isnan(values)  # a sequence that never shows its target has no centre error
        return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")

    names = [field.name for field in fields(Scores) if field.name != "frames"]
    return Scores(frames=sum(one.frames for one in scores), **{name: average(name) for name in names})


def mean_curves(curves: Sequence[Curves], weights: npt.ArrayLike | None = None) -> Curves:
    """Averages plots over sequences; ``weights``: one for each (frames, if rules are pooled)."""

    def average(name: str) -> Array:
        values = np.stack([getattr(one, name) for one in curves])
        known = ~np.isnan(values).any(axis=1)
        if not known.any():
            return np.full(values.shape[1], np.nan)
        chosen = None if weights is None else np.asarray(weights, np.float64)[known]
        return np.asarray(np.average(values[known], axis=0, weights=chosen))

    return Curves(average("success"), average("precision"), average("normalised_precision"))


def _above(overlaps: Array) -> Array:
    if not overlaps.size:
        return np.full(len(OVERLAP_THRESHOLDS), np.nan)
    return np.asarray((overlaps[:, None] > OVERLAP_THRESHOLDS).mean(axis=0))


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else float("nan")


def _repeat(boxes: Array) -> None:
    """Replaces boxes with NaN or without area by the ones before them, in place."""
    for row in range(1, len(boxes)):
        if not np.isfinite(boxes[row]).all() or boxes[row, 2] <= 0 or boxes[row, 3] <= 0:
            boxes[row] = boxes[row - 1]


def _bounded(boxes: Array, frame_size: tuple[int, int]) -> Array:
    limit = np.asarray(frame_size, np.float64)
    low = np.clip(boxes[:, :2], 0, limit)
    # the published kit keeps the size of a box whose corner it has moved
    return np.concatenate([low, np.clip(boxes[:, 2:], 0, limit - low)], axis=1)
