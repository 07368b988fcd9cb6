# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs a teacher: FEAR's network, whose answers on training pairs are soft targets for ours.

The answers train a network with one box on each cell of stride 16 (distillation; Hinton et al., 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from ..crops import SEARCH_SIZE
from ..evaluation.peers import STRIDE, FearTracker, fear_networks
from .labels import LabelConfig

Affine = npt.NDArray[np.float64]  # 2 x 3, from continuous crop pixels to continuous image pixels; no turns
Cut = Callable[[Affine, int], npt.NDArray[np.uint8]]  # a map and a side to the crop, side x side x 3 BGR

AROUND = {"template": 0.2, "search": 2.0}  # boxes that a crop shows on each side of the box
LABELS = LabelConfig()
PLACES = (SEARCH_SIZE - 1) // STRIDE  # cells a side on which a light head has proposals


@dataclass(frozen=True)
class Answer:
    """Holds a teacher's answer on the cells of a search crop.

    scores: P x P from 0 to 1, NaN where it can't see the cell or is not trusted
    boxes: 4 x P x P (cx, cy, w, h) in crop pixels relative to the crop's middle
    """

    scores: npt.NDArray[np.float32]
    boxes: npt.NDArray[np.float32]


class Teacher:
    """Runs FEAR on pairs of crops; several threads may call it at once.

    files: its two ONNX files, for the template and for the search crop

    Raises ValueError if ONNX Runtime is missing or there are not two files, FileNotFoundError.
    """

    def __init__(self, files: list[Path]) -> None:
        self._template, self._search = fear_networks(files)

    def __call__(
        self,
        cut_template: Cut,
        cut_search: Cut,
        template: tuple[npt.NDArray[np.float64], Affine],
        search: tuple[npt.NDArray[np.float64], Affine],
        truth: npt.NDArray[np.float32],
    ) -> Answer:
        """Returns what the teacher finds in the search crop.

        cut_template, cut_search: cut crops of the teacher's own size out of the pair's images
        template, search: the target's box (cx, cy, w, h in image pixels) and the map of the crop that the student sees
        truth: the target's box in the student's search crop; an answer whose best box overlaps it by less than one half
            (IoU) is not trusted
        """
        box, student = template
        own = _own_map(box[2:], student, box[:2], AROUND["template"], FearTracker.TEMPLATE)
        (features,) = self._template(_input(cut_template(own, FearTracker.TEMPLATE)))
        box, student = search
        middle = student[:, :2] @ np.full(2, SEARCH_SIZE / 2) + student[:, 2]
        own = _own_map(box[2:], student, middle, AROUND["search"], FearTracker.SEARCH)
        distances, logits = self._search(_input(cut_search(own, FearTracker.SEARCH)), features)
        # The teacher's crop pixels per pixel of the student's crop, across and down.
        scale = np.diag(student[:, :2]) / np.diag(own[:, :2])
        answer = on_cells(distances[0], logits[0, 0], scale)
        return (
            answer
            if _overlap(_best(answer), truth) >= 0.5
            else Answer(np.full_like(answer.scores, np.nan), answer.boxes)
        )


def on_cells(
    distances: npt.NDArray[np.float32], logits: npt.NDArray[np.float32], scale: npt.NDArray[np.float64]
) -> Answer:
    """Returns FEAR's maps on the cells of the student's search crop; both crops show the same point in the middle.

    FEAR labels every cell in a box as the target, a light head only those near its middle (`LabelConfig`). Scores
    therefore fall to 0 between the two ellipses in the teacher's box.

    distances: 4 x 16 x 16, to left, top, right and bottom, as in `FearTracker`
    logits: 16 x 16, as in `FearTracker`
    scale: the teacher's crop pixels per pixel of the student's, across and down
    """
    offsets = (np.arange(PLACES) - PLACES // 2) * scale[:, None]  # 2 x P, in cells of the teacher
    middle = FearTracker.SEARCH / 2 / STRIDE
    columns, rows = np.meshgrid(*(middle + offsets))
    at = columns.astype(np.float32), rows.astype(np.float32)
    known = (np.minimum(columns, rows) >= 0) & (np.maximum(columns, rows) <= logits.shape[0] - 1)

    def sampled(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(cv2.remap(values, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)

    left, top, right, bottom = (sampled(one) for one in distances)
    centre = (columns - middle) * STRIDE + (right - left) / 2, (rows - middle) * STRIDE + (bottom - top) / 2
    boxes = np.stack([*centre, left + right, top + bottom]) / np.tile(scale, 2)[:, None, None]
    away = np.hypot((right - left) / (left + right), (bottom - top) / (top + bottom))  # 1: on the inscribed ellipse
    inner, outer = LABELS.target_ellipse, LABELS.background_ellipse
    central = np.clip((outer**2 - away**2) / (outer**2 - inner**2), 0, 1)
    scores = np.where(known, central / (1 + np.exp(-sampled(logits))), np.nan)
    return Answer(scores.astype(np.float32), boxes.astype(np.float32))


def _own_map(
    size: npt.NDArray[np.float64], student: Affine, middle: npt.NDArray[np.float64], around: float, side: int
) -> Affine:
    """Maps a crop around ``middle``, ``1 + 2 * around`` boxes wide and high, mirrored like the student's."""
    steps = size * (1 + 2 * around) / side * np.sign(np.diag(student[:, :2]))
    return np.concatenate([np.diag(steps), (middle - steps * side / 2)[:, None]], 1)


def _best(answer: Answer) -> npt.NDArray[np.float32]:
    row, column = np.unravel_index(np.nanargmax(answer.scores), answer.scores.shape)
    return np.asarray(answer.boxes[:, row, column])


def _overlap(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    """Returns the IoU of two boxes (cx, cy, w, h)."""
    low, high = np.maximum(a[:2] - a[2:] / 2, b[:2] - b[2:] / 2), np.minimum(a[:2] + a[2:] / 2, b[:2] + b[2:] / 2)
    shared = np.prod(np.maximum(high - low, 0))
    return float(shared / max(1e-9, np.prod(a[2:]) + np.prod(b[2:]) - shared))


def _input(crop: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(crop[..., ::-1].transpose(2, 0, 1)[None], np.float32)
