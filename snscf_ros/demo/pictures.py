# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws the frames of a demonstration: for the video, and on a contact sheet below the scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np

from snscf_ros import overlay
from snscf_ros.demo.scores import DemoScores, FrameResult
from snscf_ros.images import Frame
from snscf_ros.messages import Box
from snscf_ros.target_registry import TrackedTarget

_TILE = (480, 400)  # pixels; a frame on the contact sheet fits into this
_COLUMNS = 4
_SMALL = 0.16  # a target narrower than this share of the frame gets an enlarged view
_TRUTH = (255, 255, 255)
_STALE = (150, 150, 150)
_INK = (20, 20, 20)
_PAPER = (245, 245, 245)


def contact_sheet(shots: list[tuple[Frame, FrameResult]], summary: DemoScores) -> Frame:
    """Lay the frames out in rows of four below the scores, each with its boxes, number, overlap and state."""
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
    """Draw the frame in the given (width, height), with its boxes and an enlarged view of a small target."""
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
    """Write text with its lower left corner at `origin`, and return where it ends."""
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, _INK, 1, cv2.LINE_AA)
    return origin[0] + int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])


def annotated(frame: Frame, result: FrameResult, size: tuple[int, int], length: int | None) -> Frame:
    """Copy the frame in the given (width, height) and draw on it as the node does, with the truth and the overlap."""
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
    """Return a copy in the given (width, height)."""
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
