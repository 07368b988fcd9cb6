"""What a target looks like in colour: a second opinion on what the network, which knows shapes better, takes for it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .crops import Frame

_BINS = (8, 16, 16)  # of L, a and b
_SIDE = 48  # pixels to which larger boxes are shrunk
_RATE = 0.05  # of the running average of the colours
_MOST = 50  # sightings that the typical distance is averaged over
Histogram = npt.NDArray[np.float32]


@dataclass
class Appearance:
    """Colours of a target: as it was given, and a running average of how it has been seen since.

    Histograms over L*a*b* of 8 x 16 x 16 bins, float32, sum 1. typical: the mean distance of what was surely the
    target, which depends on how much it changes; over ``count`` sightings, of which the first are assumed.
    """

    given: Histogram
    recent: Histogram
    typical: float = 0.2
    count: int = 3

    @classmethod
    def of(cls, frame: Frame, box: tuple[float, float, float, float]) -> Appearance:
        """The colours inside a box (x, y, w, h) of a BGR frame."""
        first = histogram(frame, box)
        return cls(first, first.copy())

    def strangeness(self, seen: Histogram) -> float:
        """How much farther than is typical these colours are from the nearer memory: Hellinger distances, -1 to 1."""
        return self._distance(seen) - self.typical

    def remember(self, seen: Histogram) -> None:
        """Takes what is surely the target into the running averages."""
        self.count = min(self.count + 1, _MOST)
        self.typical += (self._distance(seen) - self.typical) / self.count
        self.recent = (1 - _RATE) * self.recent + _RATE * seen

    def _distance(self, seen: Histogram) -> float:
        return min(_distance(self.given, seen), _distance(self.recent, seen))


def histogram(frame: Frame, box: tuple[float, float, float, float]) -> Histogram:
    """Colours inside the ellipse of a box (x, y, w, h), blurred a little.

    Of a box outside the frame, those of the nearest pixels.
    """
    x, y, w, h = box
    height, width = frame.shape[:2]
    left, top = int(min(max(round(x), 0), width - 1)), int(min(max(round(y), 0), height - 1))
    right, bottom = int(min(max(round(x + w), left + 1), width)), int(min(max(round(y + h), top + 1), height))
    patch = frame[top:bottom, left:right]
    shrink = max(1, int(max(patch.shape[:2]) // _SIDE))
    patch = np.ascontiguousarray(patch[::shrink, ::shrink])
    rows, columns = patch.shape[:2]
    across = (left + (np.arange(columns) + 0.5) * shrink - x - w / 2) / (w / 2)
    down = (top + (np.arange(rows) + 0.5) * shrink - y - h / 2) / (h / 2)
    inside = np.ascontiguousarray((across[None] ** 2 + down[:, None] ** 2 < 0.8).astype(np.uint8))
    if not inside.any():
        inside[:] = 1
    lab = cv2.cvtColor(patch, cv2.COLOR_BGR2LAB)
    found = cv2.calcHist([lab], [0, 1, 2], inside, _BINS, [0, 256] * 3)
    for axis in range(3):  # so that a shade more or less is not another colour
        padded = np.pad(found, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        low, mid, high = (np.take(padded, range(k, k + _BINS[axis]), axis) for k in (0, 1, 2))
        found = 0.25 * low + 0.5 * mid + 0.25 * high
    return np.asarray(found / found.sum(), np.float32)


def _distance(a: Histogram, b: Histogram) -> float:
    return float(np.sqrt(max(0.0, 1.0 - float(np.sqrt(a * b).sum()))))
