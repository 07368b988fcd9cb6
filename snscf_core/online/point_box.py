# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds the box of the object at a point of an image, for a person who has clicked on it.

The network was trained to say where the box of a template is. Given a square around the point as template, in the same
image, it moves the sides of the square towards the sides of the object. This is done a few times with squares of
several sizes. If the object has clear sides, most squares end there; the mean of the boxes that agree is returned.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ..arrays import to_numpy
from ..boxes import Array, cxcywh_to_xywh, iou
from ..crops import TEMPLATE_SIZE, Frame, context_side, cut_crops
from ..model.geometry import flat_boxes
from .inference import Inference
from .motion import Point
from .search_regions import region

# sides of the first squares, relative to the square root of the image's area
_SHARES = (0.05, 0.08, 0.125, 0.19, 0.29, 0.44, 0.66)
_WITHOUT_NETWORK = 0.2  # the same, in modes without heads
_STEPS = 3
_SMALLEST = 8.0  # pixels; a smaller square shows nothing that the network could see
_SAME = 0.6  # IoU from which two proposals are merged
_NEAR = 0.5  # how far a proposal's centre may be from that of the square, relative to the square's side


def check_point(point: npt.ArrayLike, width: int, height: int) -> Point:
    """Checks that a point (x, y) is inside a frame of that size, and returns it.

    Raises ValueError that names the wrong number.
    """
    values = np.asarray(point, np.float64).reshape(-1)
    if values.shape != (2,):
        raise ValueError(f"a point has 2 numbers (x, y), got {values.size}")
    x, y = (float(value) for value in values)
    for name, value, limit in (("x", x, width), ("y", y, height)):
        if not math.isfinite(value):
            raise ValueError(f"point {name} must be finite, got {value}")
        if not 0 <= value <= limit:
            raise ValueError(f"point {name}={value:g} is outside the frame of {width} x {height}")
    return x, y


def square_around(point: Point, width: int, height: int) -> tuple[float, float, float, float]:
    """Returns a square (x, y, w, h) around a point of a frame of that size, where no network can find the object."""
    side = _WITHOUT_NETWORK * math.sqrt(width * height)
    return point[0] - side / 2, point[1] - side / 2, side, side


def box_around(frame: Frame, point: Point, inference: Inference) -> Array:
    """Returns the box (x, y, w, h) of the object at a point of a frame.

    frame: H x W x 3 uint8 BGR.
    """
    height, width = frame.shape[:2]
    sides = [share * math.sqrt(width * height) for share in _SHARES]
    boxes = np.array([(*point, side, side) for side in sides if side >= _SMALLEST] or [(*point, _SMALLEST, _SMALLEST)])
    for _ in range(_STEPS):
        boxes = _moved(frame, point, boxes, inference)
    return _agreed(_inside(cxcywh_to_xywh(boxes), width, height))


def _moved(frame: Frame, point: Point, boxes: Array, inference: Inference) -> Array:
    """Returns N boxes (cx, cy, w, h): what the network proposes with each of the given boxes as template."""
    config, spec = inference.config, inference.spec
    places = [((cx, cy), context_side(w, h)) for cx, cy, w, h in boxes.tolist()]
    template = inference.runtime.template(cut_crops(frame, places, TEMPLATE_SIZE, spec.device, config.brightness))
    regions = [region(frame, (cx, cy), (w, h), config) for cx, cy, w, h in boxes.tolist()]
    found, _ = inference.look(inference.crops(regions), inference.runtime.kernels(template))
    assert found.scores is not None and found.deltas is not None
    scores = 1 / (1 + np.exp(-to_numpy(found.scores).reshape(len(boxes), -1)))
    proposals = flat_boxes(to_numpy(found.deltas), spec.anchors)
    moved = boxes.copy()
    for index, one in enumerate(regions):
        proposed = proposals[index] * (one.side / config.search_size)
        away = proposed[:2]
        to_point = np.subtract(point, one.centre)[:, None]
        allowed = (np.abs(away) < _NEAR * boxes[index, 2:, None]) & (np.abs(away - to_point) < proposed[2:] / 2)
        ranks = np.where(allowed.all(0), scores[index], 0.0)
        if not ranks.any():
            continue
        proposed[:2] += np.array(one.centre)[:, None]
        candidates = cxcywh_to_xywh(proposed.T)
        weights = np.where(iou(candidates, candidates[ranks.argmax()]) > _SAME, np.square(ranks), 0.0)
        moved[index] = (proposed * weights).sum(1) / weights.sum()
    return moved


def _inside(boxes: Array, width: int, height: int) -> Array:
    """Returns the parts of (x, y, w, h) boxes that are inside the frame."""
    low = np.clip(boxes[:, :2], 0, (width - 1, height - 1))
    high = np.clip(boxes[:, :2] + boxes[:, 2:], low + 1, (width, height))
    return np.concatenate([low, high - low], 1)


def _agreed(boxes: Array) -> Array:
    """Returns the mean of the boxes that are most alike."""
    alike = iou(boxes[:, None], boxes[None])
    best = np.square(alike).sum(1).argmax()
    weights = np.where(alike[best] > _SAME, alike[best], 0.0)
    found: Array = (boxes * weights[:, None]).sum(0) / weights.sum()
    return found
