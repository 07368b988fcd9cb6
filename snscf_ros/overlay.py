# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Draws the tracked targets into an image: boxes coloured by state, ids and scores, and a line of text.

Or makes annotations of them, lines and texts without pixels, for Foxglove.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2

from snscf_core import TrackState
from snscf_ros.images import Frame
from snscf_ros.messages import Box, ros_class
from snscf_ros.target_registry import TrackedTarget

if TYPE_CHECKING:
    from std_msgs.msg import Header

Colour = tuple[int, int, int]

# BGR; they differ in brightness too, for the colour-blind
COLOURS: dict[TrackState, Colour] = {
    TrackState.TRACKED: (96, 220, 70),
    TrackState.UNCERTAIN: (40, 190, 255),
    TrackState.LOST: (70, 70, 240),
}
_INK: Colour = (20, 20, 20)
_PAPER: Colour = (245, 245, 245)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ANNOTATION_LINE, _ANNOTATION_FONT = 2.0, 14.0  # pixels


def draw(frame: Frame, targets: Sequence[TrackedTarget], caption: str) -> None:
    """Draw `targets` and a line of text into an H x W x 3 uint8 BGR frame, in place."""
    height, width = frame.shape[:2]
    scale = min(max(min(height, width) / 480, 0.6), 4.0)
    for target in sorted(targets, key=lambda target: target.primary):
        _draw_target(frame, target, scale)
    _chip(frame, caption, (0, height), _PAPER, _INK, 0.45 * scale)


def _draw_target(frame: Frame, target: TrackedTarget, scale: float) -> None:
    state = TrackState(target.track.state)
    colour = COLOURS[state]
    x, y, w, h = target.track.box
    left, top, right, bottom = round(x), round(y), round(x + w), round(y + h)
    line = max(1, round(2 * scale))
    if state == TrackState.LOST:
        _corners(frame, (left, top, right, bottom), _INK, line + 2)
        _corners(frame, (left, top, right, bottom), colour, line)
    else:
        # a dark rim keeps the box visible on a background of its own colour
        cv2.rectangle(frame, (left, top), (right, bottom), _INK, line + 2, cv2.LINE_AA)
        cv2.rectangle(frame, (left, top), (right, bottom), colour, line, cv2.LINE_AA)
    mark = "* " if target.primary else ""
    label = f"{mark}{target.target_id}  {target.track.score:.2f}  {state.name.lower()}"
    _chip(frame, label, (left - line // 2, top), colour, _INK, 0.45 * scale)


def _corners(frame: Frame, sides: tuple[int, int, int, int], colour: Colour, line: int) -> None:
    """Draw only the corners of a box: the target was last there, but is lost."""
    left, top, right, bottom = sides
    dx, dy = max(2, (right - left) // 4), max(2, (bottom - top) // 4)
    for x, to_x in ((left, dx), (right, -dx)):
        for y, to_y in ((top, dy), (bottom, -dy)):
            cv2.line(frame, (x, y), (x + to_x, y), colour, line, cv2.LINE_AA)
            cv2.line(frame, (x, y), (x, y + to_y), colour, line, cv2.LINE_AA)


def _chip(frame: Frame, text: str, anchor: tuple[int, int], paper: Colour, ink: Colour, size: float) -> None:
    """Write text on a plain ground, its lower left corner at `anchor` or moved so that it stays inside the frame."""
    height, width = frame.shape[:2]
    stroke = max(1, round(size * 2))
    (text_width, text_height), base = cv2.getTextSize(text, _FONT, size, stroke)
    margin = max(2, round(6 * size))
    box_width, box_height = text_width + 2 * margin, text_height + base + margin
    left = max(0, min(anchor[0], width - box_width))
    bottom = min(height, max(anchor[1], box_height))
    cv2.rectangle(frame, (left, bottom - box_height), (left + box_width, bottom), paper, cv2.FILLED)
    origin = (left + margin, bottom - base - margin // 2)
    cv2.putText(frame, text, origin, _FONT, size, ink, stroke, cv2.LINE_AA)


@functools.cache
def annotations_class() -> Any:
    """Return the class ImageAnnotations, or None where foxglove_msgs is not installed."""
    try:
        return ros_class("foxglove_msgs/msg/ImageAnnotations")
    except ImportError:
        return None


def annotations_message(header: Header, targets: Sequence[TrackedTarget]) -> Any:
    """Make the annotations of one frame: a box for each target, of a lost one only the corners, and a line of text."""
    message = annotations_class()()
    for target in targets:
        state = TrackState(target.track.state)
        blue, green, red = (part / 255 for part in COLOURS[state])
        colour = ros_class("foxglove_msgs/msg/Color")(r=red, g=green, b=blue, a=1.0)
        x, y, _, _ = target.track.box
        mark = "* " if target.primary else ""
        message.points.append(_outline(header, target.track.box, state, colour))
        message.texts.append(
            ros_class("foxglove_msgs/msg/TextAnnotation")(
                timestamp=header.stamp,
                position=_point(x, y),
                text=f"{mark}{target.target_id}  {target.track.score:.2f}  {state.name.lower()}",
                font_size=_ANNOTATION_FONT,
                text_color=ros_class("foxglove_msgs/msg/Color")(r=0.08, g=0.08, b=0.08, a=1.0),
                background_color=colour,
            )
        )
    if hasattr(message, "timestamp"):  # since foxglove_msgs 3.2.5
        message.timestamp = header.stamp
    return message


def _outline(header: Header, box: Box, state: TrackState, colour: Any) -> Any:
    kind: Any = ros_class("foxglove_msgs/msg/PointsAnnotation")
    x, y, w, h = box
    if state == TrackState.LOST:
        places = [
            end
            for left, dx in ((x, w / 4), (x + w, -w / 4))
            for top, dy in ((y, h / 4), (y + h, -h / 4))
            for end in ((left, top), (left + dx, top), (left, top), (left, top + dy))
        ]
    else:
        places = [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]
    return kind(
        timestamp=header.stamp,
        type=kind.LINE_LIST if state == TrackState.LOST else kind.LINE_LOOP,
        points=[_point(*place) for place in places],
        outline_color=colour,
        thickness=_ANNOTATION_LINE,
    )


def _point(x: float, y: float) -> Any:
    return ros_class("foxglove_msgs/msg/Point2")(x=float(x), y=float(y))
