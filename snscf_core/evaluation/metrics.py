"""One-pass evaluation: success and precision as OTB defines them (Wu et al., 2013 and 2015).

Boxes are N x 4, ``(x, y, w, h)``. A frame whose true box is NaN (target absent) does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..boxes import Array, iou, xywh_to_cxcywh

OVERLAP_THRESHOLDS = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Scores:
    """Result on one sequence, or the mean over several.

    frames: that count. success_auc, overlap_success (IoU > 0.5), precision (centre error <= 20 px): in [0, 1].
    centre_error: mean in pixels.
    """

    frames: int
    success_auc: float
    overlap_success: float
    precision: float
    centre_error: float


def centre_errors(a: npt.ArrayLike, b: npt.ArrayLike) -> Array:
    """Distance in pixels between the centres of two sets of boxes."""
    difference: Array = xywh_to_cxcywh(a)[..., :2] - xywh_to_cxcywh(b)[..., :2]
    return np.hypot(difference[..., 0], difference[..., 1])


def success_auc(overlaps: npt.ArrayLike) -> float:
    """Area under the success plot: the mean over 21 thresholds from 0 to 1 of the share of overlaps above each."""
    overlaps = np.asarray(overlaps, np.float64)
    return float((overlaps[:, None] > OVERLAP_THRESHOLDS).mean()) if overlaps.size else float("nan")


def overlap_success(overlaps: npt.ArrayLike, threshold: float = 0.5) -> float:
    """Share of overlaps above the threshold."""
    overlaps = np.asarray(overlaps, np.float64)
    return float((overlaps > threshold).mean()) if overlaps.size else float("nan")


def precision(errors: npt.ArrayLike, threshold: float = 20.0) -> float:
    """Share of centre errors of at most ``threshold`` pixels."""
    errors = np.asarray(errors, np.float64)
    return float((errors <= threshold).mean()) if errors.size else float("nan")


def score(predicted: npt.ArrayLike, truth: npt.ArrayLike) -> Scores:
    """All measures over the frames that have a true box. Raises ValueError if the numbers of boxes differ."""
    predicted, truth = np.asarray(predicted, np.float64), np.asarray(truth, np.float64)
    if predicted.shape != truth.shape or predicted.ndim != 2 or predicted.shape[1] != 4:
        raise ValueError(f"predicted boxes {predicted.shape} and true boxes {truth.shape} must both be N x 4")
    present = np.isfinite(truth).all(axis=1)
    predicted, truth = predicted[present], truth[present]
    # A tracker that gave no box (NaN) in a frame overlaps by nothing and is nowhere near.
    overlaps = np.nan_to_num(iou(predicted, truth), nan=0.0)
    errors = np.nan_to_num(centre_errors(predicted, truth), nan=np.inf)
    return Scores(
        frames=int(present.sum()),
        success_auc=success_auc(overlaps),
        overlap_success=overlap_success(overlaps),
        precision=precision(errors),
        centre_error=float(errors.mean()) if errors.size else float("nan"),
    )


def mean(scores: list[Scores]) -> Scores:
    """Every sequence counts the same, however long it is; ``frames`` is the sum. ValueError for an empty list."""
    if not scores:
        raise ValueError("there are no scores to average")
    return Scores(
        frames=sum(s.frames for s in scores),
        success_auc=float(np.mean([s.success_auc for s in scores])),
        overlap_success=float(np.mean([s.overlap_success for s in scores])),
        precision=float(np.mean([s.precision for s in scores])),
        centre_error=float(np.mean([s.centre_error for s in scores])),
    )
