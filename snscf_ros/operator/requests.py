# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the messages that a browser sends, and refuses with the reason whatever is not exactly as it should be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from snscf_ros.messages import Box
from snscf_ros.stamps import SECOND

LONGEST_MESSAGE = 4096  # bytes
_LONGEST_TEXT = 128  # characters
_LARGEST_PIXEL = 1e6
_LARGEST_NUMBER = 2**53 - 1  # that JavaScript can count to
_LATEST_STAMP = 2**31 * SECOND  # ns; a stamp's seconds have 32 bits


class BadRequest(ValueError):
    """Refuses a message that cannot be used; the text says why."""


@dataclass(frozen=True)
class Watch:
    """Send the pictures of a camera from now on. camera: None for no pictures."""

    camera: str | None


@dataclass(frozen=True)
class Acknowledge:
    """Take note that the frame of this number has been decoded, and so have all before it."""

    frame: int


@dataclass(frozen=True)
class Start:
    """Follow what is in a box.

    number: the browser's own, which the reply repeats; also in the other requests.
    box: (x, y, w, h) from the top-left corner, in pixels.
    stamp: of the image that the box was drawn on, in nanoseconds; 0 for the newest.
    camera: whose image that is.
    target_id: a target that shall start again there; empty for a new one.
    """

    number: int
    box: Box
    stamp: int
    camera: str
    target_id: str


@dataclass(frozen=True)
class Remove:
    """Forget one target."""

    number: int
    target_id: str


@dataclass(frozen=True)
class MakePrimary:
    """Make one target the primary one."""

    number: int
    target_id: str


@dataclass(frozen=True)
class Enable:
    """Track, or leave the images alone."""

    number: int
    on: bool


@dataclass(frozen=True)
class Reset:
    """Forget all targets."""

    number: int


Request: TypeAlias = "Watch | Acknowledge | Start | Remove | MakePrimary | Enable | Reset"


def parse(text: str) -> Request:
    """Read one message. Raises BadRequest."""
    try:
        fields = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise BadRequest("the message is not JSON") from None
    if not isinstance(fields, dict):
        raise BadRequest("the message is not a JSON object")
    kind = fields.pop("type", None)
    if not isinstance(kind, str) or kind not in _READERS:
        raise BadRequest(f"type must be one of {', '.join(_READERS)}")
    names, read = _READERS[kind]
    if set(fields) != set(names):
        raise BadRequest(f"'{kind}' needs exactly the fields {', '.join(names)}")
    return read(fields)


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise BadRequest(f"{name} must be a text of at most {_LONGEST_TEXT} printable characters")
    return value


def _number(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_NUMBER:
        raise BadRequest(f"{name} must be a whole number from 0 to {_LARGEST_NUMBER}")
    return value


def _stamp(fields: Mapping[str, Any]) -> int:
    value = fields["stamp"]  # a text, because nanoseconds are more than JavaScript can count
    if not isinstance(value, str) or len(value) > 19 or not (value.isascii() and value.isdecimal()):
        raise BadRequest("stamp must be a text of digits: nanoseconds")
    if int(value) >= _LATEST_STAMP:
        raise BadRequest("stamp is later than a stamp can be")
    return int(value)


def _box(fields: Mapping[str, Any]) -> Box:
    value = fields["box"]
    if not isinstance(value, list) or len(value) != 4:
        raise BadRequest("box must be a list of four numbers: x, y, width, height")
    for number in value:
        # a whole number may be too large to be a float
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not -_LARGEST_PIXEL <= number:
            raise BadRequest(f"box must hold numbers of pixels from -{_LARGEST_PIXEL:.0f} to {_LARGEST_PIXEL:.0f}")
        if number > _LARGEST_PIXEL or not math.isfinite(number):
            raise BadRequest(f"box must hold numbers of pixels from -{_LARGEST_PIXEL:.0f} to {_LARGEST_PIXEL:.0f}")
    x, y, w, h = (float(number) for number in value)
    if w <= 0 or h <= 0:
        raise BadRequest(f"width and height of the box must be greater than 0, got {w:g} and {h:g}")
    return x, y, w, h


def _watch(fields: Mapping[str, Any]) -> Watch:
    return Watch(None if fields["camera"] is None else _text(fields, "camera"))


def _start(fields: Mapping[str, Any]) -> Start:
    return Start(
        _number(fields, "number"),
        _box(fields),
        _stamp(fields),
        _text(fields, "camera"),
        _text(fields, "target_id"),
    )


def _target(kind: Callable[[int, str], Request]) -> Callable[[Mapping[str, Any]], Request]:
    def read(fields: Mapping[str, Any]) -> Request:
        target_id = _text(fields, "target_id")
        if not target_id:
            # the services take an empty name for the primary target, which may have changed meanwhile
            raise BadRequest("target_id must not be empty")
        return kind(_number(fields, "number"), target_id)

    return read


def _enable(fields: Mapping[str, Any]) -> Enable:
    if not isinstance(fields["on"], bool):
        raise BadRequest("on must be true or false")
    return Enable(_number(fields, "number"), fields["on"])


# for each type the names of its fields, and what reads them
_READERS: Mapping[str, tuple[tuple[str, ...], Callable[[Mapping[str, Any]], Request]]] = {
    "watch": (("camera",), _watch),
    "ack": (("frame",), lambda fields: Acknowledge(_number(fields, "frame"))),
    "start": (("number", "box", "stamp", "camera", "target_id"), _start),
    "remove": (("number", "target_id"), _target(Remove)),
    "primary": (("number", "target_id"), _target(MakePrimary)),
    "enable": (("number", "on"), _enable),
    "reset": (("number",), lambda fields: Reset(_number(fields, "number"))),
}
