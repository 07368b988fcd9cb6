# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes contact sheets of the frames where a tracker did worst, best, and where it lost the target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from ...boxes import Array
from ...crops import Frame
from ..results import Evaluation, SequenceResult
from .plots import COLOURS, colour, shortened

FrameReader = Callable[[Sequence[int]], Iterator[Frame]]
"""Yields the frames (H x W x 3 uint8 BGR) of ascending indices from 0, in their order."""

KINDS = {
    "frames": "From beginning to end",  # with a single sequence
    "worst": "Worst sequences",
    "best": "Best sequences",
    "failures": "First failures",
}

_TILE = (320, 240)  # width, height
_FRAMES = 3  # of a sequence, side by side
_TILES = 12  # in a sheet
_ALL_TILES = 120  # in a report, about: for a page of a few megabytes
_QUALITY = 80
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_INK = (40, 40, 40)
_LOST, _PATIENCE = 0.1, 10


@dataclass(frozen=True)
class Tile:
    """Holds one frame with boxes drawn, 240 x 320 x 3.

    index: from 0, below ``length``
    overlap: of the sheet's tracker
    """

    sequence: str
    index: int
    length: int
    overlap: float
    picture: Frame

    @property
    def caption(self) -> str:
        return f"{self.sequence} · {self.index + 1}/{self.length} · IoU {self.overlap:.2f}"

    def jpeg(self) -> bytes:
        return _jpeg(self.picture)


@dataclass(frozen=True)
class ContactSheet:
    """Holds tiles of one tracker.

    tracker: its place in the evaluation
    kind: a key of ``KINDS``
    drawn: places of the trackers whose boxes are drawn, this one last

    The box of this tracker and the true box, which is white, have a dark outline.
    """

    tracker: int
    kind: str
    drawn: tuple[int, ...]
    tiles: tuple[Tile, ...]

    @property
    def by_sequence(self) -> bool:
        """Returns whether the tiles come in threes of one sequence."""
        return self.kind in ("worst", "best")

    def jpeg(self, names: Sequence[str]) -> bytes:
        """Returns the whole sheet as one picture; ``names`` of all trackers.

        Characters outside ASCII are drawn as '?'.
        """
        columns = _FRAMES if self.by_sequence else min(4, max(2, len(self.tiles)))
        width, height, strip, gap = *_TILE, 24, 8
        full = gap + columns * (width + gap)
        title = f"{KINDS[self.kind]}: {shortened(names[self.tracker], 40)}"
        head = [_strip(full, 34, [(None, title)], 0.6)]
        entries = [("#FFFFFF", "true box"), *((colour(i), names[i]) for i in reversed(self.drawn))]
        head += [_strip(full, strip, row, 0.42) for row in _rows(entries, full)]
        body = []
        for first in range(0, len(self.tiles), columns):
            row = np.full((height + strip + gap, full, 3), 255, np.uint8)
            for column, tile in enumerate(self.tiles[first : first + columns]):
                left = gap + column * (width + gap)
                row[:height, left : left + width] = tile.picture
                place = f"{tile.index + 1}/{tile.length}  IoU {tile.overlap:.2f}"
                text = f"{shortened(tile.sequence, 41 - len(place))}  {place}"
                row[height : height + strip, left : left + width] = _strip(width, strip, [(None, text)], 0.42)
            body.append(row)
        return _jpeg(np.concatenate(head + body))


def first_failure(result: SequenceResult) -> int | None:
    """Returns the first frame (from 0) from which the overlap stays below 0.1 for 10 frames, or to the end.

    None if it never does. Frames without a true box are ignored, and so is the first frame if the rules don't score it.
    """
    overlaps = result.overlaps.copy()
    if result.rules.first != "scored":
        overlaps[:1] = np.nan
    counted = np.flatnonzero(~np.isnan(overlaps))
    lost = overlaps[counted] < _LOST
    for start in np.flatnonzero(lost & ~np.concatenate([[False], lost[:-1]])):
        if lost[start : start + _PATIENCE].all():
            return int(counted[start])
    return None


def contact_sheets(
    evaluation: Evaluation, frames: Mapping[str, FrameReader]
) -> tuple[list[ContactSheet], dict[str, str]]:
    """Makes the sheets of every tracker, without empty ones. Every frame is read once.

    frames: readers by the sequences' names; sequences without a reader are ignored

    Returns the sheets, and the sequences whose frames could not be read, with the error.
    """
    size = min(_TILES, max(_FRAMES, _ALL_TILES // (3 * len(evaluation.trackers))))
    wanted = {
        (place, kind): chosen
        for place, tracker in enumerate(evaluation.trackers)
        for kind, chosen in _chosen([one for one in tracker.sequences.values() if one.name in frames], size).items()
    }
    drawn = [_drawn(evaluation, place) for place in range(len(evaluation.trackers))]
    tiles: dict[tuple[int, str, int], Tile] = {}
    errors = {}
    for sequence in sorted({name for chosen in wanted.values() for name, _ in chosen}):
        users = {(place, index) for (place, _), all_ in wanted.items() for name, index in all_ if name == sequence}
        indices = sorted({index for _, index in users})
        try:
            for index, frame in zip(indices, frames[sequence](indices), strict=True):
                for place in sorted(place for place, used in users if used == index):
                    tiles[place, sequence, index] = _tile(evaluation, drawn[place], sequence, index, frame)
        except (OSError, ValueError) as error:
            errors[sequence] = str(error)
    sheets = []
    for (place, kind), chosen in wanted.items():
        keys = [(place, name, index) for name, index in chosen]
        if found := tuple(tiles[key] for key in keys if key in tiles):
            sheets.append(ContactSheet(place, kind, drawn[place], found))
    return sheets, errors


def _chosen(results: Sequence[SequenceResult], size: int) -> dict[str, list[tuple[str, int]]]:
    """Chooses sequences and frames for each kind of sheet."""
    ranked = sorted((one for one in results if one.scores.frames), key=lambda one: (one.scores.success_auc, one.name))
    lost = [(one.name, index) for one in ranked if (index := first_failure(one)) is not None][:size]
    if len(ranked) == 1:
        return {"frames": [(ranked[0].name, index) for index in _spread(ranked[0], size)], "failures": lost}
    count = size // _FRAMES
    best = min(count, len(ranked) // 2)
    worst = min(count, len(ranked) - best)
    return {
        "worst": [(one.name, index) for one in ranked[:worst] for index in _spread(one, _FRAMES)],
        "best": [
            (one.name, index) for one in reversed(ranked[len(ranked) - best :]) for index in _spread(one, _FRAMES)
        ],
        "failures": lost,
    }


def _spread(result: SequenceResult, count: int) -> list[int]:
    """Chooses ``count`` frames from the whole length, all of them with a true box."""
    counted = np.flatnonzero(~np.isnan(result.overlaps))
    return sorted({int(counted[len(counted) * (2 * part + 1) // (2 * count)]) for part in range(count)})


def _drawn(evaluation: Evaluation, place: int) -> tuple[int, ...]:
    """Returns this tracker, preceded by the first others with a different colour."""
    others = [i for i in range(len(evaluation.trackers)) if colour(i) != colour(place)]
    return (*others[: len(COLOURS) - 1], place)


def _tile(evaluation: Evaluation, drawn: Sequence[int], sequence: str, index: int, frame: Frame) -> Tile:
    own = evaluation.trackers[drawn[-1]].sequences[sequence]
    shown = [(colour(i), other.boxes[index]) for i in drawn[:-1] if (other := _result(evaluation, i, sequence, index))]
    shown += [("#FFFFFF", own.truth[index]), (colour(drawn[-1]), own.boxes[index])]
    picture, scale, corner = _view(frame, np.stack([own.truth[index], own.boxes[index]]))
    for number, (ink, box) in enumerate(shown):
        if np.isfinite(box).all():
            _draw(picture, (box[:2] - corner) * scale, box[2:] * scale, ink, outlined=number >= len(shown) - 2)
    return Tile(sequence, index, len(own.boxes), float(own.overlaps[index]), picture)


def _result(evaluation: Evaluation, place: int, sequence: str, index: int) -> SequenceResult | None:
    result = evaluation.trackers[place].sequences.get(sequence)
    return result if result is not None and index < len(result.boxes) else None


def _view(frame: Frame, boxes: Array) -> tuple[Frame, float, Array]:
    """Cuts a tile around these boxes in which the target is visible.

    Returns the tile, its scale, and the frame's coordinates of its first pixel.
    """
    height, width = frame.shape[:2]
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    low = np.clip(boxes[:, :2].min(axis=0), 0, (width - 1, height - 1))
    high = np.clip((boxes[:, :2] + boxes[:, 2:]).max(axis=0), low + 1, (width, height))
    aspect = _TILE[0] / _TILE[1]
    # four times the target, and at least a quarter of the frame: the surroundings show what misled a tracker
    target = 4 * float(np.sqrt(np.prod(np.maximum(boxes[0, 2:], 0))))
    needed = 1.2 * float(max(high[0] - low[0], (high[1] - low[1]) * aspect))
    wide = max(target, needed, width / 4, height * aspect / 4)
    across, down = min(width, round(wide)), min(height, round(wide / aspect))
    left, top = (
        int(np.clip(round(centre - side / 2), 0, limit - side))
        for centre, side, limit in zip((low + high) / 2, (across, down), (width, height), strict=True)
    )
    scale = min(_TILE[0] / across, _TILE[1] / down)
    size = max(1, round(across * scale)), max(1, round(down * scale))
    part = frame[top : top + down, left : left + across]
    picture = np.full((_TILE[1], _TILE[0], 3), 128, np.uint8)
    x, y = (_TILE[0] - size[0]) // 2, (_TILE[1] - size[1]) // 2
    resampling = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    picture[y : y + size[1], x : x + size[0]] = cv2.resize(part, size, interpolation=resampling)
    return picture, scale, np.array([left - x / scale, top - y / scale])


def _draw(picture: Frame, corner: Array, size: Array, ink: str, outlined: bool) -> None:
    # clip far points: they look the same, and fit OpenCV's integers
    low, high = (np.clip(np.round(point), -1000, 2000).astype(int).tolist() for point in (corner, corner + size))
    if outlined:
        cv2.rectangle(picture, low, high, (0, 0, 0), 4)
    cv2.rectangle(picture, low, high, _bgr(ink), 2)


def _strip(width: int, height: int, entries: Sequence[tuple[str | None, str]], size: float) -> Frame:
    """Draws one line of text; an entry with a colour gets a swatch before it."""
    strip = np.full((height, width, 3), 255, np.uint8)
    left = 8 if width > _TILE[0] else 0
    for ink, text in entries:
        if ink is not None:
            cv2.rectangle(strip, (left, height // 2 - 6), (left + 14, height // 2 + 5), _bgr(ink), cv2.FILLED)
            cv2.rectangle(strip, (left, height // 2 - 6), (left + 14, height // 2 + 5), _INK, 1)
            left += 20
        text = _ascii(text)
        cv2.putText(strip, text, (left, height // 2 + round(11 * size)), _FONT, size, _INK, 1, cv2.LINE_AA)
        left += cv2.getTextSize(text, _FONT, size, 1)[0][0] + 20
    return strip


def _rows(entries: Sequence[tuple[str, str]], width: int) -> list[list[tuple[str, str]]]:
    """Splits the entries of a legend into as many rows as they need."""
    rows: list[list[tuple[str, str]]] = [[]]
    used = 8
    for ink, name in entries:
        name = shortened(name, 40)
        needed = 40 + cv2.getTextSize(_ascii(name), _FONT, 0.42, 1)[0][0]
        if rows[-1] and used + needed > width:
            rows.append([])
            used = 8
        rows[-1].append((ink, name))
        used += needed
    return rows


def _ascii(text: str) -> str:
    return text.replace("…", "...").encode("ascii", "replace").decode()


def _bgr(ink: str) -> tuple[int, int, int]:
    return int(ink[5:7], 16), int(ink[3:5], 16), int(ink[1:3], 16)


def _jpeg(picture: npt.NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
