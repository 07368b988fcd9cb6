# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Proposes boxes that may hold an object, without a network: things that move, and things that stand out.

Both differ from a background. ``moving`` makes its background of other pictures of the shot, with the camera's motion
removed. ``standing_out`` makes it of the picture itself, with its details removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from snscf_core.boxes import Array, iou
from snscf_core.crops import Frame

Mask = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

WIDTH = 320  # pixels of the pictures in which proposals are searched
SMALLEST = 16  # pixels of a box's shorter side
LARGEST = 0.25  # of the picture's area, at most
LONGEST = 3.5  # ratio of a box's sides, at most
BORDER = 3  # pixels between a box and the picture's edge, at least
FILLED = 0.45  # of its box that a part fills, at least
FLAT = 12.0  # standard deviation of the grey values in a box, at least
SAME_PLACE = 4  # pixels by which boxes may differ and still count as one
SAME = 0.6  # IoU of a box with the outline of its content, at least
DIFFERENT = 22.0  # distance in Lab beyond which two colours differ
ISOLATED = {"whole": 0.2, "moving": 0.35, "still": 0.5}  # isolation of a target, at least
MOVES, RING, STILL = 0.4, 0.3, 0.03  # shares of a box, and of the ring round it, that move
SHARES = (0.12, 0.3)  # of the picture's width: sizes of the details that are removed for the background
REACH = (-48, -30, -18, -8, 8, 18, 30, 48)  # offsets of the pictures that form a moving camera's background
RINGED = 1.5  # size of a box with the ring around it, in boxes
STEADY = 0.6  # pixels; less motion within REACH means the camera stands still


@dataclass(frozen=True)
class Proposal:
    """Holds a proposed box (x, y, w, h) in pixels of the whole picture.

    kind: moving or still
    alike: whether another proposal looks similar
    """

    box: Array
    kind: str
    rank: float
    alike: bool = False


class Camera:
    """Estimates the camera's motion between pictures, from ORB features and a homography.

    pictures: of one shot. Sizes and displacements refer to pictures with ``WIDTH`` pixels a row.
    """

    def __init__(self, pictures: Sequence[Frame]) -> None:
        self._orb = cv2.ORB_create(400)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING, crossCheck=True)
        self.pictures = [reduced(picture) for picture in pictures]
        self._moving: dict[int, Mask] = {}
        self._features: dict[int, tuple[Values, Mask]] = {}

    def homography(self, source: int, target: int) -> Array | None:
        """Returns the 3 x 3 matrix from places of one picture to those of another; None if it can't be found."""
        (places, words), (others, other_words) = self._described(source), self._described(target)
        if len(places) < 12 or len(others) < 12:
            return None
        pairs = self._matcher.match(words, other_words)
        if len(pairs) < 12:
            return None
        before = np.array([places[pair.queryIdx] for pair in pairs])
        after = np.array([others[pair.trainIdx] for pair in pairs])
        matrix, inliers = cv2.findHomography(before, after, cv2.RANSAC, 1.5, maxIters=300)
        return matrix if matrix is not None and int(inliers.sum()) >= 12 else None

    def displacement(self, source: int, target: int) -> float:
        """Returns how far the picture's corners move, in pixels on average; NaN if that can't be found."""
        matrix = self.homography(source, target)
        if matrix is None:
            return float("nan")
        height, width = self.pictures[source].shape[:2]
        corners = np.array([[[0, 0]], [[width, 0]], [[width, height]], [[0, height]]], np.float64)
        return float(np.linalg.norm(cv2.perspectiveTransform(corners, matrix) - corners, axis=2).mean())

    def moving(self, number: int) -> Mask:
        """Returns where a picture differs from the pictures before and after it; cached."""
        if number not in self._moving:
            self._moving[number] = moving(self, number)
        return self._moving[number]

    def _described(self, number: int) -> tuple[Values, Mask]:
        if number not in self._features:
            grey = cv2.cvtColor(self.pictures[number], cv2.COLOR_BGR2GRAY)
            points, words = self._orb.detectAndCompute(grey, None)
            places = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
            self._features[number] = places, np.empty((0, 32), np.uint8) if words is None else words
        return self._features[number]


def propose(camera: Camera, picture: Frame, number: int) -> list[Proposal]:
    """Returns possible targets in picture ``number`` of a shot, the best first, none over another."""
    small = camera.pictures[number]
    factor = picture.shape[1] / small.shape[1]
    moves = camera.moving(number)
    found = [
        Proposal(box, "moving", _rank(box, 1.5))
        for box in parts(moves, small)
        if stands_alone(moves, box) and isolation(small, box) >= ISOLATED["whole"]
    ]
    boxes = np.concatenate([blobs(small), *(parts(standing_out(small, share), small) for share in SHARES)])
    _, first = np.unique(np.round(boxes / SAME_PLACE), axis=0, return_index=True)
    for box in boxes[first]:
        isolated = isolation(small, box)
        kind = _kind(moves, box) if isolated >= ISOLATED["moving"] else None
        if kind is not None and isolated >= ISOLATED[kind]:
            outline = outlined(picture, box * factor)
            if outline is not None:
                rank = isolated * _rank(outline / factor, 2.0 if kind == "moving" else 1.5)
                found.append(Proposal(outline / factor, kind, rank))
    best: list[Proposal] = []
    for one in sorted(found, key=lambda one: -one.rank):
        # If one box lies within another, keep the larger: smaller ones are parts.
        apart = all(_overlap(one.box, other.box) <= 0.2 for other in best)
        if apart and min(one.box[2:]) * factor >= SMALLEST:
            best.append(one)
    alike = _look_alikes(small, [one.box for one in best])
    return [replace(one, box=one.box * factor, alike=same) for one, same in zip(best, alike, strict=True)]


def confirmed(camera: Camera, picture: Frame, number: int, box: Array) -> bool:
    """Returns whether a box of picture ``number`` of a shot holds a whole object, by its outline or its motion."""
    if outlined(picture, box) is not None:
        return True
    factor = picture.shape[1] / camera.pictures[number].shape[1]
    moves = camera.moving(number)
    boxes = components(moves)[:, :4] * factor
    return bool(len(boxes)) and float(iou(boxes, box).max()) >= SAME and stands_alone(moves, box / factor)


def stands_alone(moves: Mask, box: Array) -> bool:
    """Returns whether a box's content moves and its surroundings do not."""
    inside, ring = _ring_shares(moves, box)
    return inside >= MOVES and ring <= RING * inside


def moving(camera: Camera, number: int) -> Mask:
    """Returns where a picture differs from the pictures before and after it."""
    picture = camera.pictures[number]
    height, width = picture.shape[:2]
    others = [number + offset for offset in REACH if 0 <= number + offset < len(camera.pictures)]
    layers = []
    steady = all(camera.displacement(end, number) < STEADY for end in (*others[:1], *others[-1:]))
    for other in others:
        matrix = np.eye(3) if steady else camera.homography(other, number)
        if matrix is not None:
            unseen = (0, 0, 0, 0)
            warped = cv2.warpPerspective(camera.pictures[other], matrix, (width, height), borderValue=unseen)
            seen = cv2.warpPerspective(np.full((height, width), 255, np.uint8), matrix, (width, height)) == 255
            layers.append(np.where(seen[..., None], warped.astype(np.float32), np.nan))
    if len(layers) < 4:
        return np.zeros((height, width), np.uint8)
    stack = np.stack(layers)
    known = np.isfinite(stack[..., 0]).sum(axis=0) >= 4
    background = np.median(np.nan_to_num(stack, nan=128.0), axis=0).astype(np.uint8)
    return np.asarray((_distance(picture, background) > DIFFERENT) & known, np.uint8)


def standing_out(picture: Frame, scale: float) -> Mask:
    """Returns where a picture differs from itself without details smaller than a share of its width."""
    side = round(picture.shape[1] * scale) | 1
    lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB)
    background = cv2.cvtColor(cv2.medianBlur(lab, side), cv2.COLOR_LAB2BGR)
    return np.asarray(_distance(picture, background) > DIFFERENT, np.uint8)


def blobs(picture: Frame) -> Array:
    """Returns boxes (N x 4) around stable regions of one brightness or colour that could be a target."""
    lab = cv2.cvtColor(picture, cv2.COLOR_BGR2LAB)
    height, width = picture.shape[:2]
    detector = cv2.MSER_create(4, 64, round(LARGEST * height * width))
    found = np.concatenate(
        [np.array(detector.detectRegions(np.ascontiguousarray(lab[..., c]))[1]).reshape(-1, 4) for c in range(3)]
    )
    return np.array([box for box in np.unique(found, axis=0).astype(np.float64) if plausible(box, picture)]).reshape(
        -1, 4
    )


def parts(mask: Mask, picture: Frame) -> Array:
    """Returns boxes (N x 4: x, y, w, h) around the connected parts of a mask that could be a target."""
    found = [box[:4].astype(np.float64) for box in components(mask) if box[4] >= FILLED * box[2] * box[3]]
    return np.array([box for box in found if plausible(box, picture)]).reshape(-1, 4)


def components(mask: Mask) -> npt.NDArray[np.int32]:
    """Returns box and area (N x 5: x, y, w, h, pixels) of the connected parts of a mask, without specks and gaps."""
    small = np.ones((3, 3), np.uint8)
    cleaned = cv2.morphologyEx(
        cv2.morphologyEx(mask, cv2.MORPH_OPEN, small), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)
    )
    count, _, statistics, _ = cv2.connectedComponentsWithStats(cleaned, connectivity=4)
    return np.asarray(statistics[1:count])


def plausible(box: Array, picture: Frame, smallest: float = 8) -> bool:
    """Returns whether a box could be a target: neither too small nor too large, not cut off, not plain."""
    height, width = picture.shape[:2]
    x, y, w, h = box
    if min(w, h) < smallest or w * h > LARGEST * width * height or max(w / h, h / w) > LONGEST:
        return False
    if min(x, y) < BORDER or x + w > width - BORDER or y + h > height - BORDER:
        return False
    return float(cv2.cvtColor(around(picture, box, 1.0), cv2.COLOR_BGR2GRAY).std()) >= FLAT


def isolation(picture: Frame, box: Array) -> float:
    """Returns how well a box holds one thing on a ground of one or two colours: 0 to 1.

    It is the share of the ring around the box that has these colours, minus the share of the box that has them.
    """
    ground, inside = _ground(picture, box)
    if inside.sum() < 16 or (~inside).sum() < 16:
        return 0.0
    return float(ground[~inside].mean() - ground[inside].mean())


def outlined(picture: Frame, box: Array) -> Array | None:
    """Returns the box (x, y, w, h) of the part inside a box that differs from the ground around it.

    None if that part extends beyond 1.5 boxes, or if it overlaps the box too little.
    """
    ground, inside = _ground(picture, box)
    if inside.all():
        return None
    height, width = ground.shape
    mask = cv2.morphologyEx((~ground).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, _, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=4)
    if count < 2:
        return None
    left, top, wide, high, area = statistics[1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())]
    beyond = left == 0 or top == 0 or left + wide == width or top + high == height
    low = np.maximum(0, np.floor(box[:2] - box[2:] * (RINGED - 1) / 2))
    found = np.array([low[0] + left, low[1] + top, wide, high], np.float64)
    return None if beyond or area < FILLED * wide * high or float(iou(found, box)) < SAME else found


def reduced(picture: Frame) -> Frame:
    """Returns a picture of at most ``WIDTH`` pixels a row."""
    height, width = picture.shape[:2]
    if width <= WIDTH:
        return picture
    return np.asarray(cv2.resize(picture, (WIDTH, round(height * WIDTH / width)), interpolation=cv2.INTER_AREA))


def around(values: npt.NDArray[np.generic], box: Array, factor: float) -> npt.NDArray[np.generic]:
    """Returns the values in a box enlarged by ``factor``, at least one of them."""
    x, y, w, h = box
    low = np.array([y + h / 2 - factor * h / 2, x + w / 2 - factor * w / 2])
    bottom, right = np.ceil(low + np.array((factor * h, factor * w))).astype(int)
    top, left = np.minimum(np.maximum(0, low).astype(int), np.array(values.shape[:2]) - 1)
    return values[top : max(top + 1, bottom), left : max(left + 1, right)]


def _distance(picture: Frame, background: Frame) -> Values:
    """Returns the distance of the colours of each pixel in Lab, H x W, after slight smoothing."""
    both = [
        cv2.cvtColor(cv2.GaussianBlur(one, (3, 3), 0), cv2.COLOR_BGR2LAB).astype(np.float32)
        for one in (picture, background)
    ]
    return np.asarray(np.linalg.norm(both[0] - both[1], axis=2), np.float32)


def _ground(picture: Frame, box: Array) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Returns which pixels of a box and its ring have one of the ring's two main colours, and which are in the box."""
    colours = cv2.cvtColor(np.ascontiguousarray(around(picture, box, RINGED)), cv2.COLOR_BGR2LAB).astype(np.float32)
    height, width = colours.shape[:2]
    inside = np.zeros((height, width), bool)
    inside[height // 6 : height - height // 6, width // 6 : width - width // 6] = True
    ring = colours[~inside]
    if not len(ring):
        return np.zeros_like(inside), inside
    ground = _near(colours, ring)
    rest = ring[~ground[~inside]]
    if len(rest) > 0.1 * len(ring):
        ground |= _near(colours, rest)
    return ground, inside


def _near(colours: Values, others: Values) -> npt.NDArray[np.bool_]:
    """Returns which colours (... x 3) are similar to the median of others (N x 3)."""
    return np.asarray(np.linalg.norm(colours - np.median(others, axis=0), axis=-1) < DIFFERENT)


def _ring_shares(mask: Mask, box: Array) -> tuple[float, float]:
    """Returns the share of a box that a mask fills, and that of the ring around it."""
    inner, outer = around(mask, box, 1.0), around(mask, box, 1.7)
    rest = outer.size - inner.size
    return float(inner.mean()), float((outer.sum() - inner.sum()) / rest) if rest > 0 else 1.0


def _kind(moves: Mask, box: Array) -> str | None:
    """Returns whether a box's content moves or is still; None for a part of a moving thing, or its surroundings."""
    if stands_alone(moves, box):
        return "moving"
    return "still" if max(_ring_shares(moves, box)) <= STILL else None


def _look_alikes(picture: Frame, boxes: Sequence[Array]) -> list[bool]:
    """Returns for each box whether another has its colours, and half to twice its area."""
    colours = [_histogram(picture, box) for box in boxes]
    areas = [float(box[2:].prod()) for box in boxes]

    def alike(one: int, other: int) -> bool:
        common = float(np.minimum(colours[one], colours[other]).sum())
        return one != other and common > 0.6 and 0.5 < areas[one] / areas[other] < 2

    return [any(alike(one, other) for other in range(len(boxes))) for one in range(len(boxes))]


def _rank(box: Array, weight: float) -> float:
    return weight * float(box[2:].prod()) ** 0.2


def _overlap(one: Array, other: Array) -> float:
    """Returns the share of the smaller box that the other covers."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[:2] + one[2:], other[:2] + other[2:])
    return float(np.maximum(0, high - low).prod() / min(one[2:].prod(), other[2:].prod()))


def _histogram(picture: Frame, box: Array) -> Values:
    patch = np.ascontiguousarray(around(picture, box, 0.9))
    return np.asarray(cv2.calcHist([patch], [0, 1, 2], None, [6, 6, 6], [0, 256] * 3) / patch[..., 0].size)
