# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Starts targets on request, on an earlier image if so asked, and brings each to the newest image step by step."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from snscf_core import Target, Track, Tracker
from snscf_ros.encodings import Frame
from snscf_ros.messages import Box
from snscf_ros.node.camera_stream import CameraStreams
from snscf_ros.node.init_requests import ImagePoint, InitRequest, InitRequests, Started
from snscf_ros.node.intake.recent_images import ReceivedImage
from snscf_ros.node.parameters import Settings
from snscf_ros.target_registry import Refused, TargetRegistry


@dataclass
class CatchUp:
    """A target on its way from the image that it was started on to the newest one.

    request: the request that started it.
    target: its state at the image `number`.
    box: where it was started.
    size: width and height of the image that it was started on.
    began: when the start began (monotonic seconds).
    deadline: when it has to be at the newest image.
    number: number of the image that it has got to.
    frames: images that it was followed through.
    steps: turns taken, the first of which is the start.
    track: its last track; None before there is one.
    ended: whether the time is over.
    """

    request: InitRequest
    target: Target
    box: Box
    size: tuple[int, int]
    began: float
    deadline: float
    number: int
    frames: int = 0
    steps: int = 1
    track: Track | None = None
    ended: bool = False

    def next_image(self, ahead: list[ReceivedImage], now: float) -> ReceivedImage:
        """Choose the image of the next step: the steps are spread evenly over the images and the time that are left."""
        left = self.deadline - now
        # includes what is tracked in between
        step = (now - self.began) / self.steps
        steps = max(1, int(left / step)) if step > 0 else len(ahead)
        image = ahead[min(math.ceil(len(ahead) / steps), len(ahead)) - 1]
        self.ended = left <= 0
        self.number = image.number
        self.steps += 1
        return image


class TargetStarter:
    """Starts one target at a time. The worker calls it with the tracker; `news` guards what it shares.

    catching_up: the target being followed up to the newest image, or None.
    """

    def __init__(
        self,
        streams: CameraStreams,
        requests: InitRequests,
        targets: TargetRegistry,
        settings: Callable[[], Settings],
        news: threading.Condition,
    ) -> None:
        self.catching_up: CatchUp | None = None
        self._streams = streams
        self._requests = requests
        self._targets = targets
        self._settings = settings
        self._news = news

    def start(self, request: InitRequest, tracker: Tracker, decode: Callable[[ReceivedImage], Frame]) -> None:
        """Initialise the target. Answer a request whose box or image is at fault; raise other errors of the tracker."""
        began = time.monotonic()
        try:
            frame = decode(request.image)
            box = request.place
            if isinstance(box, ImagePoint):
                box = tracker.box_around(frame, box)
            target = tracker.init(frame, box)
        except ValueError as error:
            self._requests.fail(request, error)
            return
        settings = self._settings()
        # the caller must get the answer in time
        most = min(settings.catch_up_time, settings.init_timeout / 2)
        with self._news:
            number, size = request.image.number, (frame.shape[1], frame.shape[0])
            self.catching_up = CatchUp(request, target, box, size, began, time.monotonic() + most, number)
            self._finish_if_arrived(self.catching_up)

    def step(self, catching_up: CatchUp, tracker: Tracker) -> None:
        """Take one step towards the newest image. Raises what the tracker raises, and then the target is given up."""
        with self._news:
            if self._finish_if_arrived(catching_up):
                return
            image = catching_up.next_image(self._ahead(catching_up), time.monotonic())
        try:
            # not kept: the newest image, which the other targets share, stays decoded
            frame = image.decode()
            if self._is_of_another_camera(catching_up, (frame.shape[1], frame.shape[0])):
                return
            catching_up.track = tracker.update(frame, catching_up.target)
            catching_up.frames += 1
        except ValueError:
            pass  # an image that cannot be used changes nothing
        except Exception:
            with self._news:
                self.catching_up = None
            raise
        with self._news:
            self._finish_if_arrived(catching_up)

    def abandon(self, error: Exception) -> None:
        """Give up the target that is catching up, and answer its request with the error."""
        with self._news:
            catching_up, self.catching_up = self.catching_up, None
        if catching_up is not None:
            self._requests.fail(catching_up.request, error)

    def _is_of_another_camera(self, catching_up: CatchUp, size: tuple[int, int]) -> bool:
        with self._news:
            alternating = self._streams[catching_up.request.image.camera].observe_size(size)
        return bool(alternating) and size != catching_up.size

    def _ahead(self, catching_up: CatchUp) -> list[ReceivedImage]:
        image = catching_up.request.image
        return self._streams[image.camera].ahead(catching_up.number, image.header.frame_id)

    def _finish_if_arrived(self, catching_up: CatchUp) -> bool:
        """Let a target at the newest image join the others, and answer. Return True if nothing is left to do."""
        request = catching_up.request
        if not request.answer.done():
            if self._ahead(catching_up) and not catching_up.ended:
                return False
            try:
                name = self._targets.add(
                    request.target_id,
                    request.image.camera,
                    catching_up.target,
                    self._settings().max_targets,
                    catching_up.track,
                    request.image.header.frame_id,
                    catching_up.size,
                    request.class_id,
                )
                answer = Started(name, catching_up.frames, catching_up.box, request.image.header)
                request.answer.set_result(answer)
            except Refused as reason:
                request.answer.set_exception(reason)
        self.catching_up = None
        return True
