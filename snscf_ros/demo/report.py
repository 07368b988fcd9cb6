# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the demo leaves behind: a video with the boxes drawn in, a contact sheet, and scores."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from snscf_core import Track
from snscf_core.boxes import iou
from snscf_core.evaluation import metrics
from snscf_ros import overlay
from snscf_ros.images import Frame
from snscf_ros.messages import Box
from snscf_ros.stamps import seconds_text
from snscf_ros.target_registry import TrackedTarget

# MPEG-4 Part 2: the one codec for .mp4 that OpenCV's wheels encode in real time; VLC, mpv, QuickTime and ffmpeg play it
_CODEC = "mp4v"
_VIDEO_WIDTH = 480  # narrower frames are enlarged, so that lines and text stay readable
_TILE = (480, 400)  # a frame on the contact sheet fits into this
_COLUMNS, _MOST_TILES = 4, 16
_SMALL = 0.16  # a target narrower than this share of the frame gets an enlarged view
_TRUTH = (255, 255, 255)
_STALE = (150, 150, 150)
_INK = (20, 20, 20)
_PAPER = (245, 245, 245)
_NAN_BOX = (math.nan,) * 4


@dataclass(frozen=True)
class FrameResult:
    """One frame that the camera sent, and what came of it. Boxes are (x, y, w, h) in pixels.

    truth: None where the target is absent or the truth unknown.
    track: None before the first track; for a dropped frame the last known one, which is all that a listener has.
    latency: seconds from the image's stamp to the arrival of its detections; None for a dropped frame.
    """

    number: int
    stamp: int
    truth: Box | None
    track: Track | None
    dropped: bool
    latency: float | None = None

    @property
    def overlap(self) -> float | None:
        """IoU of the track and the truth, None without either."""
        if self.truth is None or self.track is None:
            return None
        return float(iou(self.track.box, self.truth))


@dataclass(frozen=True)
class DemoScores:
    """The scores of a run; those that need a truth are None without it.

    The measures are those of one-pass evaluation over the tracked frames in which the target can be seen;
    `success_auc_in_real_time` counts the dropped ones too, each with the last box known by then.
    """

    source: str
    tracker: str
    width: int
    height: int
    frames_sent: int
    frames_tracked: int
    frames_dropped: int
    frames_with_truth: int
    success_auc: float | None
    success_auc_in_real_time: float | None
    overlap_success: float | None
    precision: float | None
    centre_error: float | None
    latency_p50: float | None
    latency_p95: float | None
    frames_per_second: float | None

    def lines(self) -> list[tuple[str, str]]:
        """Names and values for a table."""

        def number(value: float | None, form: str) -> str:
            return "-" if value is None else format(value, form)

        def milliseconds(value: float | None) -> str:
            return "-" if value is None else f"{value * 1e3:.0f} ms"

        slow = "  (the tracker was slower than the camera)" if self.frames_dropped else ""
        rows = [
            ("source", f"{self.source}, {self.width} x {self.height}"),
            ("tracker", self.tracker or "-"),
            ("frames sent", str(self.frames_sent)),
            ("frames tracked", str(self.frames_tracked)),
            ("frames dropped", f"{self.frames_dropped}{slow}"),
        ]
        if self.success_auc is not None:
            rows += [
                ("frames scored", f"{self.frames_with_truth}  (tracked, and the target can be seen)"),
                ("success AUC", number(self.success_auc, ".3f")),
                ("IoU > 0.5", number(self.overlap_success, ".3f")),
                ("precision at 20 px", number(self.precision, ".3f")),
                ("mean centre error", number(self.centre_error, ".1f") + " px"),
            ]
        if self.success_auc is not None and self.frames_dropped:
            real_time = number(self.success_auc_in_real_time, ".3f")
            rows.append(("success AUC in real time", f"{real_time}  (dropped frames count with the last known box)"))
        rows += [
            ("latency, median", milliseconds(self.latency_p50)),
            ("latency, 95th percentile", milliseconds(self.latency_p95)),
            ("frames tracked per second", number(self.frames_per_second, ".1f")),
        ]
        return rows

    def table(self) -> str:
        rows = self.lines()
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def summarise(results: list[FrameResult], source: str, tracker: str, size: tuple[int, int]) -> DemoScores:
    """Scores of the frames of one run; `size` is (width, height)."""
    tracked = [result for result in results if not result.dropped]
    scored = _scores(tracked)
    in_real_time = _scores(results)
    latencies = [result.latency for result in tracked if result.latency is not None]
    seconds = (tracked[-1].stamp - tracked[0].stamp) * 1e-9 if tracked else 0.0
    return DemoScores(
        source=source,
        tracker=tracker,
        width=size[0],
        height=size[1],
        frames_sent=len(results),
        frames_tracked=len(tracked),
        frames_dropped=len(results) - len(tracked),
        frames_with_truth=scored.frames if scored else 0,
        success_auc=scored.success_auc if scored else None,
        success_auc_in_real_time=in_real_time.success_auc if in_real_time else None,
        overlap_success=scored.overlap_success if scored else None,
        precision=scored.precision if scored else None,
        centre_error=scored.centre_error if scored else None,
        latency_p50=float(np.percentile(latencies, 50)) if latencies else None,
        latency_p95=float(np.percentile(latencies, 95)) if latencies else None,
        frames_per_second=(len(tracked) - 1) / seconds if seconds > 0 else None,
    )


def _scores(results: list[FrameResult]) -> metrics.Scores | None:
    if not any(result.truth for result in results):
        return None
    predicted = [result.track.box if result.track else _NAN_BOX for result in results]
    return metrics.score(predicted, [result.truth or _NAN_BOX for result in results])


class Report:
    """Takes the frames of a run in order, and writes `overlay.mp4`, `contact_sheet.png`, `scores.json`, `scores.txt`.

    rate: of the video, frames per second. length: how many frames are expected, None if unknown.
    """

    def __init__(self, folder: Path, rate: float, length: int | None = None) -> None:
        self._folder = folder
        self._rate = rate
        self._length = length
        self._video: cv2.VideoWriter | None = None
        self._video_size = (0, 0)
        self._shots = _Spread(8 * _MOST_TILES)
        self.size = (0, 0)
        self.results: list[FrameResult] = []

    def add(self, frame: Frame, result: FrameResult) -> None:
        """Draw one frame into the video. Raises OSError if the video can't be written."""
        if self._video is None:
            height, width = frame.shape[:2]
            self.size = (width, height)
            enlarged = max(1, math.ceil(_VIDEO_WIDTH / width))
            # The codec stores colour for blocks of 2 x 2.
            self._video_size = (width * enlarged // 2 * 2, height * enlarged // 2 * 2)
            path = self._folder / "overlay.mp4"
            self._video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*_CODEC), self._rate, self._video_size)
            if not self._video.isOpened():
                raise OSError(f"{path} can't be written: this OpenCV has no encoder for {_CODEC}")
        self._video.write(_annotated(frame, result, self._video_size, self._length))
        self._shots.add(frame, result)
        self.results.append(result)

    def recent_rate(self) -> float:
        """Frames tracked in a second, over the last 30 frames."""
        recent = self.results[-30:]
        seconds = (recent[-1].stamp - recent[0].stamp) * 1e-9 if recent else 0.0
        return sum(not result.dropped for result in recent[1:]) / seconds if seconds > 0 else 0.0

    def close(self, source: str, tracker: str) -> DemoScores | None:
        """Finish all files; None, and no scores, if there was no frame."""
        if self._video is None:
            return None
        self._video.release()
        summary = summarise(self.results, source, tracker, self.size)
        _write_image(self._folder / "contact_sheet.png", contact_sheet(self._shots.evenly(_MOST_TILES), summary))
        details = {**asdict(summary), "frames": [_row(result) for result in self.results]}
        (self._folder / "scores.json").write_text(json.dumps(details, indent=1) + "\n")
        (self._folder / "scores.txt").write_text(summary.table() + "\n")
        return summary


class _Spread:
    """Keeps a part of a stream of unknown length, evenly spread and as JPEG, because a long video would fill memory."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._every = 1
        self._count = 0
        self._kept: list[tuple[Frame, FrameResult]] = []
        self._last: tuple[Frame, FrameResult] | None = None

    def add(self, frame: Frame, result: FrameResult) -> None:
        self._last = (frame, result)
        if self._count % self._every == 0:
            _, encoded = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])
            self._kept.append((np.asarray(encoded, np.uint8), result))
        if len(self._kept) > self._most:
            self._kept = self._kept[::2]
            self._every *= 2
        self._count += 1

    def evenly(self, count: int) -> list[tuple[Frame, FrameResult]]:
        """Up to `count` frames from the first to the last."""
        assert self._last is not None
        before = [item for item in self._kept if item[1] is not self._last[1]]
        chosen = np.unique(np.linspace(0, len(before), min(count, len(before) + 1)).round().astype(int))[:-1]
        shots = [(cv2.imdecode(before[index][0], cv2.IMREAD_COLOR), before[index][1]) for index in chosen]
        return [*((np.asarray(frame, np.uint8), result) for frame, result in shots), self._last]


def contact_sheet(shots: list[tuple[Frame, FrameResult]], summary: DemoScores) -> Frame:
    """The frames in rows of four below the scores, each with its boxes, and below it its number, overlap and state."""
    height, width = shots[0][0].shape[:2]
    factor = min(_TILE[0] / width, _TILE[1] / height)
    size = (round(width * factor), round(height * factor))
    gap, strip = 6, 24
    columns = min(_COLUMNS, len(shots))
    rows = math.ceil(len(shots) / columns)
    heading = _heading(summary, max(columns * (size[0] + gap) + gap, 900))
    sheet = np.full((heading.shape[0] + rows * (size[1] + strip + gap), heading.shape[1], 3), _PAPER, np.uint8)
    sheet[: heading.shape[0]] = heading
    for number, (frame, result) in enumerate(shots):
        top = heading.shape[0] + number // columns * (size[1] + strip + gap)
        left = gap + number % columns * (size[0] + gap)
        sheet[top : top + size[1], left : left + size[0]] = _tile(frame, result, size)
        _caption(sheet, result, (left, top + size[1] + 17), summary.success_auc is not None)
    return sheet


def _tile(frame: Frame, result: FrameResult, size: tuple[int, int]) -> Frame:
    """The frame in the given (width, height), with its boxes, and an enlarged view if the target is small in it."""
    tile = _resized(frame, size)
    height, width = frame.shape[:2]
    factors = (size[0] / width, size[1] / height)
    _draw_boxes(tile, result, lambda box: _scaled(box, factors))
    anchor = result.truth or (result.track.box if result.track else None)
    if anchor is None or max(anchor[2] / width, anchor[3] / height) > _SMALL:
        return tile
    x, y, w, h = anchor
    side, view = 2.6 * max(w, h), int(0.4 * size[1])
    zoom = view / side
    left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
    matrix = np.array([[zoom, 0, -left * zoom + (zoom - 1) / 2], [0, zoom, -top * zoom + (zoom - 1) / 2]])
    near = cv2.warpAffine(frame, matrix, (view, view), flags=cv2.INTER_CUBIC, borderValue=(60, 60, 60))
    inset = np.asarray(near, np.uint8)
    _draw_boxes(inset, result, lambda box: _scaled((box[0] - left, box[1] - top, box[2], box[3]), (zoom, zoom)))
    cv2.rectangle(inset, (0, 0), (view - 1, view - 1), _PAPER, 2)
    # in the corner farthest from the target
    column = size[0] - view if x + w / 2 < width / 2 else 0
    row = size[1] - view if y + h / 2 < height / 2 else 0
    tile[row : row + view, column : column + view] = inset
    return tile


def _draw_boxes(picture: Frame, result: FrameResult, place: Callable[[Box], Box]) -> None:
    if result.truth is not None:
        _outline(picture, place(result.truth), _TRUTH)
    if result.track is not None:
        _outline(picture, place(result.track.box), _colour(result))


def _colour(result: FrameResult) -> overlay.Colour:
    return _STALE if result.dropped or result.track is None else overlay.COLOURS[result.track.state]


def _caption(sheet: Frame, result: FrameResult, origin: tuple[int, int], truth_known: bool) -> None:
    x, y = origin
    x = _write(sheet, f"frame {result.number}", (x + 2, y), 0.5) + 16
    if truth_known and result.truth is None:
        x = _write(sheet, "target not visible", (x, y), 0.5) + 16
    elif result.overlap is not None:
        x = _write(sheet, f"IoU {result.overlap:.2f}", (x, y), 0.5) + 16
    _swatch(sheet, _colour(result), (x, y))
    if result.dropped:
        text = "dropped, last known box" if result.track else "dropped"
    else:
        text = f"{result.track.state.name.lower()} {result.track.score:.2f}" if result.track else "nothing followed"
    _write(sheet, text, (x + 20, y), 0.5)


def _heading(summary: DemoScores, width: int) -> Frame:
    picture = np.full((92, width, 3), _PAPER, np.uint8)
    counts = f"{summary.frames_sent} frames sent, {summary.frames_tracked} tracked, {summary.frames_dropped} dropped"
    scores = "no ground truth"
    if summary.success_auc is not None:
        scores = f"success AUC {summary.success_auc:.3f}, IoU > 0.5 {summary.overlap_success:.3f}"
        scores += f", precision at 20 px {summary.precision:.3f}"
    _write(picture, f"{summary.source}   {summary.tracker}", (12, 26), 0.6)
    _write(picture, f"{counts}   {scores}", (12, 52), 0.5)
    x = 12
    colours = [(state.name.lower(), colour) for state, colour in overlay.COLOURS.items()]
    for name, colour in [*colours, ("dropped", _STALE), ("ground truth", _TRUTH)]:
        _swatch(picture, colour, (x, 80))
        x = _write(picture, name, (x + 20, 80), 0.5) + 24
    return picture


def _swatch(picture: Frame, colour: overlay.Colour, origin: tuple[int, int]) -> None:
    x, y = origin
    cv2.rectangle(picture, (x, y - 12), (x + 14, y + 2), colour, cv2.FILLED)
    cv2.rectangle(picture, (x, y - 12), (x + 14, y + 2), _INK, 1)


def _write(picture: Frame, text: str, origin: tuple[int, int], size: float) -> int:
    """Text with its lower left corner at `origin`; returns where it ends."""
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
    return origin[0] + int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def _annotated(frame: Frame, result: FrameResult, size: tuple[int, int], length: int | None) -> Frame:
    """A copy of the frame in the given (width, height), as the node draws it, with the truth and the overlap."""
    height, width = frame.shape[:2]
    canvas = _resized(frame, size)
    factors = (size[0] / width, size[1] / height)
    if result.truth is not None:
        _outline(canvas, _scaled(result.truth, factors), _TRUTH)
    targets = []
    if result.track is not None and not result.dropped:
        targets = [TrackedTarget("", False, replace(result.track, box=_scaled(result.track.box, factors)))]
    elif result.track is not None:
        _outline(canvas, _scaled(result.track.box, factors), _STALE)
    caption = f"{result.number}" + (f"/{length}" if length else "")
    caption += "" if result.overlap is None else f"  IoU {result.overlap:.2f}"
    if result.dropped:
        caption += "  dropped, last known box" if result.track else "  dropped"
    overlay.draw(canvas, targets, caption)
    return canvas


def _resized(frame: Frame, size: tuple[int, int]) -> Frame:
    """A copy in the given (width, height)."""
    if size == (frame.shape[1], frame.shape[0]):
        return frame.copy()
    shape = cv2.INTER_AREA if size[0] < frame.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size, interpolation=shape), np.uint8)


def _outline(canvas: Frame, box: Box, colour: overlay.Colour) -> None:
    x, y, w, h = box
    corners = (round(x), round(y)), (round(x + w), round(y + h))
    cv2.rectangle(canvas, *corners, _INK, 4, cv2.LINE_AA)
    cv2.rectangle(canvas, *corners, colour, 2, cv2.LINE_AA)


def _scaled(box: Box, factors: tuple[float, float]) -> Box:
    return box[0] * factors[0], box[1] * factors[1], box[2] * factors[0], box[3] * factors[1]


def _row(result: FrameResult) -> dict[str, Any]:
    track = result.track
    return {
        "number": result.number,
        "stamp": seconds_text(result.stamp),
        "truth": result.truth,
        "box": track.box if track else None,
        "score": track.score if track else None,
        "state": track.state.name.lower() if track else None,
        "overlap": result.overlap,
        "dropped": result.dropped,
        "latency": result.latency,
    }


def _write_image(path: Path, picture: Frame) -> None:
    if not cv2.imwrite(str(path), picture):
        raise OSError(f"{path} can't be written")
