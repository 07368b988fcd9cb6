# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the images of one topic of a bag in the order of their stamps, and the true boxes of the target.

Stamps are those of the headers, in nanoseconds. An image without a stamp (zero), or with damaged bytes, gets a stamp
between its neighbours' in the bag, by the times of recording. If no image has a stamp, the times of recording serve.
Equal stamps are ordered by the time of recording, then as they are stored. If stamps go back by more than two seconds
while the recorder's clock went on, the camera's clock was set, and later images stay behind earlier ones.
"""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from snscf_core.boxes import Array
from snscf_core.evaluation.sequences import present, read_truth
from snscf_core.texts import read_text
from snscf_ros.bags.bag import Bag, Entry
from snscf_ros.bags.message_types import COMPRESSED, DETECTION, DETECTIONS, IMAGE
from snscf_ros.bags.records import Stored, UnreadableMessage
from snscf_ros.images import Frame, check, decode
from snscf_ros.messages import Box, box_from_message
from snscf_ros.stamps import nanoseconds, seconds_text

_NEAR = 1_000_000  # ns; how far a written time may be from the stamp that it means
_CLOCK_SET = 2_000_000_000  # ns; stamps that go back by more mean that the clock was set, not a mere disorder
_EXACT_NANOSECONDS = 10**15  # whole numbers from here on are nanoseconds; as seconds they would be 31 million years


@dataclass(frozen=True)
class _IndexedMessage:
    """What was learnt from reading a message once.

    stamp: 0 if not `stamped`.
    problem: why it cannot be read; empty if it can.
    box: box of a true detection, or None if the image has no detection.
    """

    stamp: int
    stamped: bool
    problem: str = ""
    box: Box | None = None


@dataclass(frozen=True)
class Start:
    """The image that tracking starts on, by its place in the order, and the target's (x, y, w, h) box in it."""

    index: int
    box: Box


class Recording:
    """The images of a topic and, with `truth_topic`, the detections there. Reads the bag once.

    stamps: stamp of each image in order (ns).
    clock_set: how often the camera's clock was set back.
    unstamped: how many images had no stamp.
    Raises ValueError where there is no image, naming what is wrong with the bag.
    """

    def __init__(self, bag: Bag, topic: str, truth_topic: str = "") -> None:
        self.bag = bag
        self.topic = topic
        entries = bag.index({topic, truth_topic} - {""}, _look)
        images = [entry for entry in entries if entry.topic == topic]
        stamps = _stamps(images)
        parts = _parts(stamps)
        order = sorted(range(len(images)), key=lambda i: (parts[i], stamps[i], images[i].log_time, i))
        self._entries = [images[index] for index in order]
        if not self._entries:
            reasons = "".join(f"; {problem}" for problem in bag.problems)
            raise ValueError(f"{bag.path} has no images on {topic}{reasons}")
        self.stamps = [stamps[index] for index in order]
        self.clock_set = parts[-1]
        self.unstamped = sum(not entry.value.stamped for entry in self._entries if not entry.value.problem)
        self._unreadable = sum(bool(entry.value.problem) for entry in entries)
        self._truths = {
            entry.value.stamp or entry.log_time: entry.value.box
            for entry in entries
            if entry.topic == truth_topic and not entry.value.problem
        }

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def problems(self) -> list[str]:
        """The parts of the bag that are lost."""
        damaged = f"messages that can't be understood, because their bytes are damaged: {self._unreadable}"
        return [*self.bag.problems, *([damaged] if self._unreadable else [])]

    def messages(self) -> Iterator[Stored]:
        """Yield the images as they are stored, in order."""
        for _, stored in self.bag.in_order(self._entries):
            yield stored

    def frame(self, index: int) -> Frame:
        """Decode one frame, H x W x 3 uint8 BGR. Raises ValueError for an image that cannot be used."""
        return decode(self.bag.read(self._entries[index]).message())

    def usable(self, index: int, max_pixels: int) -> str:
        """Return why an image cannot be tracked in; empty if it can."""
        try:
            check(self.bag.read(self._entries[index]).message(), max_pixels)()
        except ValueError as reason:
            return str(reason)
        return ""

    def truth_from_topic(self) -> Array:
        """Return N x 4 true boxes by the images' stamps, NaN for none. Raises ValueError if no stamp fits."""
        boxes = np.full((len(self), 4), np.nan)
        found = [index for index, stamp in enumerate(self.stamps) if stamp in self._truths]
        if not found:
            raise ValueError(f"no ground truth of {self.bag.path} bears the stamp of an image on {self.topic}")
        for index in found:
            if (box := self._truths[self.stamps[index]]) is not None:
                boxes[index] = box
        return boxes

    def truth_from_file(self, file: Path) -> Array:
        """Read N x 4 true boxes; a row is NaN if its image has no box.

        The lines are ``x,y,w,h``, one for each image, or ``stamp,x,y,w,h``. A box without size is an absent target.
        Raises ValueError, naming the line or the number that is wrong.
        """
        lines = [line for line in read_text(file).splitlines() if line.strip()]
        if not lines or len(_split(lines[0])) != 5:
            boxes = read_truth(file)
            if len(boxes) != len(self):
                raise ValueError(f"{file} has {len(boxes)} boxes, but {self.topic} has {len(self)} images")
            return boxes
        boxes = np.full((len(self), 4), np.nan)
        for number, line in enumerate(lines, 1):
            parts = _split(line)
            try:
                stamp, *box = parts
                index = self._nearest(self.nanoseconds(stamp))
                values = [float(value) for value in box]
            except (ValueError, InvalidOperation) as error:
                raise ValueError(f"{file} line {number}: {error}") from error
            if len(values) != 4:
                raise ValueError(f"{file} line {number} has {len(parts)} numbers instead of 5 (stamp, x, y, w, h)")
            if index is not None:
                boxes[index] = values
        boxes = present(boxes)
        if np.isnan(boxes).all():
            raise ValueError(f"no line of {file} has a box for the stamp of an image on {self.topic}")
        return boxes

    def nanoseconds(self, text: str) -> int:
        """Read a stamp that a user has written, and return nanoseconds.

        It is in seconds or exact nanoseconds. It is absolute if within the recording, else relative to the first image.
        """
        try:
            number = Decimal(text.strip())
        except InvalidOperation:
            raise ValueError(f"{text.strip()!r} is no stamp in seconds") from None
        if not number.is_finite():
            raise ValueError(f"{text.strip()!r} is no stamp in seconds")
        whole = number == number.to_integral_value() and abs(number) >= _EXACT_NANOSECONDS
        stamp = int(number if whole else (number * 1_000_000_000).to_integral_value())
        absolute = min(self.stamps) - _NEAR <= stamp <= max(self.stamps) + _NEAR
        return stamp if absolute or whole else self.stamps[0] + stamp

    def start_from_text(self, text: str, max_pixels: int) -> Start:
        """Return the start for ``x,y,w,h[@stamp]``: on the image nearest to the stamp, or on the first usable one."""
        coordinates, at, stamp = text.partition("@")
        try:
            x, y, w, h = (float(value) for value in _split(coordinates))
        except ValueError:
            raise ValueError(f"--init must be x,y,w,h or x,y,w,h@stamp, got {text!r}") from None
        if not at:
            return Start(self._first_usable(range(len(self)), max_pixels), (x, y, w, h))
        wanted = self.nanoseconds(stamp)
        if not min(self.stamps) - _NEAR <= wanted <= max(self.stamps) + _NEAR:
            span = f"{seconds_text(min(self.stamps))} to {seconds_text(max(self.stamps))}"
            raise ValueError(f"--init: stamp {stamp} is not within the recording, which is from {span}")
        index = int(np.argmin(np.abs(np.array(self.stamps) - wanted)))
        if reason := self.usable(index, max_pixels):
            raise ValueError(f"--init: the image of stamp {seconds_text(self.stamps[index])} can't be used: {reason}")
        return Start(index, (x, y, w, h))

    def start_from_truth(self, truth: Array, max_pixels: int) -> Start:
        """Return the start on the first usable image with a true box."""
        present = [int(index) for index in np.flatnonzero(np.isfinite(truth).all(axis=1))]
        if not present:
            raise ValueError("the ground truth has no box to start from; give one with --init x,y,w,h[@stamp]")
        index = self._first_usable(present, max_pixels)
        x, y, w, h = (float(value) for value in truth[index])
        return Start(index, (x, y, w, h))

    def _first_usable(self, indices: range | list[int], max_pixels: int) -> int:
        reason = ""
        for index in indices:
            if not (reason := self.usable(index, max_pixels)):
                return index
        raise ValueError(f"no image on {self.topic} of {self.bag.path} can be used to start on: {reason}")

    def _nearest(self, stamp: int) -> int | None:
        index = int(np.argmin(np.abs(np.array(self.stamps) - stamp)))
        return index if abs(self.stamps[index] - stamp) <= _NEAR else None


def image_topic(bag: Bag, wanted: str) -> str:
    """Return the topic of images to evaluate: the wanted or the only one. Raises ValueError, listing the topics."""
    kinds = {name: topic.type for name, topic in bag.topics.items()}
    images = [name for name, kind in kinds.items() if kind in (IMAGE, COMPRESSED)]
    listed = ", ".join(images) or "none"
    if not wanted:
        if len(images) == 1:
            return images[0]
        reasons = "".join(f"; {problem}" for problem in bag.problems) if not images else ""
        raise ValueError(f"say which images to track in with --image-topic; {bag.path} has {listed}{reasons}")
    for name in (wanted, f"/{wanted}"):
        if name in images:
            return name
        if name in kinds:
            raise ValueError(f"{name} is a topic of {kinds[name]}, not of images; {bag.path} has {listed}")
    raise ValueError(f"{wanted} is no topic of {bag.path}, which has images on: {listed}")


def truth_topic(bag: Bag, wanted: str) -> str:
    """Return the wanted topic of true boxes; empty if `wanted` is a file. Raises ValueError if it is neither."""
    for name in (wanted, f"/{wanted}"):
        if (topic := bag.topics.get(name)) is not None:
            if topic.type not in (DETECTION, DETECTIONS):
                raise ValueError(f"{name} is a topic of {topic.type}; ground truth is {DETECTIONS} or {DETECTION}")
            return name
    if not Path(wanted).is_file():
        there = [name for name, topic in bag.topics.items() if topic.type in (DETECTION, DETECTIONS)]
        listed = ", ".join(there) or "none"
        raise ValueError(f"{wanted} is neither a file nor a topic of {bag.path}, which has detections on: {listed}")
    return ""


def _split(line: str) -> list[str]:
    return re.split(r"[,\s]+", line.strip().strip(","))


def _look(stored: Stored) -> _IndexedMessage:
    try:
        message = stored.message()
    except UnreadableMessage as reason:
        return _IndexedMessage(0, False, str(reason))
    stamp = nanoseconds(message.header.stamp)
    box = None
    if stored.topic.type in (DETECTION, DETECTIONS):
        detections = message.detections if stored.topic.type == DETECTIONS else [message]
        # an absent target has an empty array, or a box without size
        if detections and math.isfinite(size := detections[0].bbox.size_x * detections[0].bbox.size_y) and size > 0:
            try:
                box = box_from_message(detections[0].bbox)
            except ValueError as reason:
                raise ValueError(f"ground truth on {stored.topic.name}: {reason}") from reason
        stamp = stamp or (nanoseconds(detections[0].header.stamp) if detections else 0)
    return _IndexedMessage(stamp, bool(stamp), box=box)


def _stamps(entries: Sequence[Entry[_IndexedMessage]]) -> list[int]:
    """Return a stamp for every entry. entries: in the order in which they are stored."""
    known = [index for index, entry in enumerate(entries) if entry.value.stamped]
    stamps = [entry.value.stamp if known else entry.log_time for entry in entries]
    for index, entry in enumerate(entries if known else []):
        if not entry.value.stamped:
            after = bisect.bisect(known, index)
            around = [entries[place] for place in known[max(after - 1, 0) : after + 1]]
            given = sorted(one.value.stamp for one in around)
            # recorders are late by varying times: take the least delay around it
            stamps[index] = entry.log_time + max(one.value.stamp - one.log_time for one in around)
            if after > 0:  # between the two, or after the last
                stamps[index] = max(stamps[index], given[0])
            if after < len(known):
                stamps[index] = min(stamps[index], given[-1])
    return stamps


def _parts(stamps: Sequence[int]) -> list[int]:
    """Return for each stamp how often the clock was set back before. stamps: in the order in which they are stored."""
    parts, newest, part = [], min(stamps, default=0), 0  # stamps may be negative
    for stamp in stamps:
        if stamp < newest - _CLOCK_SET:
            part, newest = part + 1, stamp
        newest = max(newest, stamp)
        parts.append(part)
    return parts
