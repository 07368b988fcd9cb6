# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Follows a target through a shot with trackers that must agree with one another, forwards and backwards."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np

from snscf_core.boxes import Array, iou
from snscf_core.crops import Frame
from snscf_core.evaluation.trackers import OnlineTracker

from .proposals import around

AGREED = 0.7  # least IoU of any two boxes of one picture
SHORTEST, LONGEST = 12, 32  # labelled pictures of a target
EDGE = 2.0  # pixels from the picture's edge at which a box touches it
MOSTLY_OUT = 0.4  # of a target's usual area; less in sight at the edge means it is mostly out
OUTWARDS = 0.04  # of a target's size; least outward motion per picture of a target that leaves
NEAR = 0.5  # of a target's size from the edge, where trackers begin to disagree about a leaving target
ABSENT = 8  # most pictures without the target
UNLIKE = 0.35  # correlation with the target's first appearance below which a tracker has lost it


@dataclass(frozen=True)
class Stretch:
    """Holds a target in pictures of a shot.

    indices: of the pictures
    boxes: N x 4 (x, y, w, h), NaN where the target is absent
    """

    indices: list[int]
    boxes: Array


class Teachers:
    """Runs trackers that follow one target side by side, each in its own thread."""

    def __init__(self, trackers: Sequence[OnlineTracker]) -> None:
        self._trackers = list(trackers)
        self._threads = ThreadPoolExecutor(len(self._trackers))

    def __len__(self) -> int:
        return len(self._trackers)

    def init(self, picture: Frame, box: Array) -> None:
        """Starts all trackers on a box (x, y, w, h)."""
        x, y, w, h = (float(value) for value in box)
        list(self._threads.map(lambda tracker: tracker.init(picture, (x, y, w, h)), self._trackers))

    def update(self, picture: Frame) -> list[Array] | None:
        """Returns each tracker's box in the next picture; None if one has lost the target."""
        boxes = list(self._threads.map(lambda tracker: tracker.update(picture), self._trackers))
        found = [np.array(box, np.float64) for box in boxes if box is not None]
        return found if len(found) == len(boxes) else None


def follow(teachers: Teachers, pictures: Sequence[Frame], box: Array) -> Array:
    """Returns boxes (N x 4) of a target in the first N pictures, on which all trackers agree both ways.

    The trackers go forwards from the given box in the first picture as long as any two agree, and from there back to
    the first picture. The boxes are their means.
    """
    forwards = [[np.asarray(box, np.float64)] for _ in range(len(teachers))]
    teachers.init(pictures[0], box)
    for picture in pictures[1:]:
        updated = teachers.update(picture)
        if updated is None or not _agree(updated):
            break
        for track, one in zip(forwards, updated, strict=True):
            track.append(one)
    length = _in_sight(np.mean(forwards, axis=0), *pictures[0].shape[1::-1])
    while length >= SHORTEST:
        tracks = _track_back(teachers, pictures[:length], [track[:length] for track in forwards])
        if tracks is not None:
            return np.asarray(tracks.mean(axis=0))
        length //= 2  # the end was already wrong
    return np.empty((0, 4))


def leaving(teachers: Teachers, pictures: Sequence[Frame], boxes: Array) -> list[int]:
    """Returns the pictures, after those with boxes, in which a target that left through the edge is absent.

    A target has left if it moved outwards near the edge until nothing of it is visible, and no tracker then finds
    anything similar.

    pictures: those with boxes, and all after them
    """
    height, width = pictures[0].shape[:2]
    last, size = boxes[-1], np.median(boxes[:, 2:], axis=0)
    middles = boxes[-6:, :2] + boxes[-6:, 2:] / 2
    speed = (middles[-1] - middles[0]) / max(1, len(middles) - 1)
    gone = None
    for axis, limit in ((0, width), (1, height)):
        low, high = last[axis], limit - last[axis] - last[axis + 2]
        for distance, outwards, left in (
            (low, -speed[axis], low + last[axis + 2]),
            (high, speed[axis], limit - last[axis]),
        ):
            if distance <= NEAR * size[axis] and outwards >= OUTWARDS * size[axis]:
                gone = len(boxes) - 1 + int(np.ceil(left / outwards * 1.3)) + 2
    if gone is None or gone + 3 > len(pictures):
        return []
    absent = list(range(gone, min(gone + ABSENT, len(pictures))))
    first = sight(pictures[0], boxes[0])
    teachers.init(pictures[0], boxes[0])
    for number in range(1, absent[-1] + 1):
        updated = teachers.update(pictures[number])
        found = updated if updated is not None and number in absent else []
        if any(alike(first, sight(pictures[number], one)) > UNLIKE for one in found):
            return []
    return absent


def _in_sight(boxes: Array, width: int, height: int) -> int:
    """Returns the number of boxes before the first that has shrunk at the edge, where most of the target is out."""
    x, y, w, h = boxes.T
    at_edge = (np.minimum(x, y) <= EDGE) | (x + w >= width - EDGE) | (y + h >= height - EDGE)
    inside = np.minimum(x + w, width) - np.maximum(x, 0), np.minimum(y + h, height) - np.maximum(y, 0)
    areas = np.maximum(inside[0], 0) * np.maximum(inside[1], 0)
    out = np.flatnonzero(at_edge & (areas < MOSTLY_OUT * np.median(areas)))
    return int(out[0]) if len(out) else len(boxes)


def _track_back(teachers: Teachers, pictures: Sequence[Frame], forwards: Sequence[Sequence[Array]]) -> Array | None:
    """Tracks back; returns boxes of all trackers, T x N x 4, forwards and backwards, or None if any two disagree."""
    box = np.mean([track[-1] for track in forwards], axis=0)
    teachers.init(pictures[-1], box)
    backwards = [[box] for _ in forwards]
    for number in range(len(pictures) - 2, -1, -1):
        updated = teachers.update(pictures[number])
        if updated is None or not _agree([*(track[number] for track in forwards), *updated]):
            return None
        for track, one in zip(backwards, updated, strict=True):
            track.append(one)
    return np.array([*forwards, *(track[::-1] for track in backwards)])


def _agree(boxes: Sequence[Array] | Array) -> bool:
    return all(float(iou(one, other)) >= AGREED for one, other in combinations(boxes, 2))


def sight(picture: Frame, box: Array) -> Array:
    """Returns a box's content, 24 x 24 x 3, without its brightness and contrast."""
    patch = cv2.resize(np.ascontiguousarray(around(picture, box, 1.0)), (24, 24), interpolation=cv2.INTER_AREA).astype(
        np.float64
    )
    patch -= patch.mean(axis=(0, 1))
    return np.asarray(patch / max(1e-6, float(np.linalg.norm(patch))))


def alike(one: Array, other: Array) -> float:
    """Returns the correlation of two appearances, -1 to 1."""
    return float((one * other).sum())
