# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Requests to start targets: who waits, for which image, and how each request is answered."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import NamedTuple

from std_msgs.msg import Header

from snscf_ros.messages import Box
from snscf_ros.node.intake.recent_images import ReceivedImage
from snscf_ros.target_registry import Refused


class Started(NamedTuple):
    """The answer to a request.

    target_id: name of the target.
    frames_caught_up: the number of images that it was followed through to catch up.
    box: where it was started.
    header: of the image that it was started in.
    """

    target_id: str
    frames_caught_up: int
    box: Box
    header: Header


class ImagePoint(NamedTuple):
    """A point in an image, in pixels from the top-left corner."""

    x: float
    y: float


@dataclass
class InitRequest:
    """A request to follow what is at `place` in `image`.

    image: the image to start on.
    place: (x, y, w, h) from the top-left corner, in pixels, or a point around which the box is to be found.
    target_id: name of the target; empty for a new one.
    class_id: what kind of thing it is; empty if that is not known.
    answer: done before there is a target if nobody waits for it any more.
    """

    image: ReceivedImage
    place: Box | ImagePoint
    target_id: str
    class_id: str = ""
    answer: Future[Started] = field(default_factory=Future)


class InitRequests:
    """The requests that wait, oldest first, and the request that is being worked on. `news` guards them."""

    def __init__(self, news: threading.Condition) -> None:
        self._news = news
        self._waiting: deque[InitRequest] = deque()
        self._current: InitRequest | None = None  # the last request that was begun

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, request: InitRequest) -> None:
        """Queue a request and wake the worker. The caller holds the lock."""
        self._waiting.append(request)
        self._news.notify_all()

    def take(self) -> InitRequest | None:
        """Return the oldest request that still waits for an answer. The caller holds the lock."""
        while self._waiting:
            request = self._waiting.popleft()
            if not request.answer.done():
                self._current = request
                return request
        return None

    def wait(self, request: InitRequest, timeout: float) -> Started:
        """Wait for the answer. Raises Refused after `timeout` seconds, and then nothing is started."""
        try:
            return request.answer.result(timeout)
        except FutureTimeoutError:
            with self._news:
                # has no effect if the answer has come just now
                request.answer.cancel()
        try:
            return request.answer.result(0)
        except CancelledError:
            raise Refused(f"the tracker was busy for {timeout:g} s (init_timeout); nothing was initialised") from None

    def fail(self, request: InitRequest, error: Exception) -> None:
        """Answer a request with an error, unless it has been answered."""
        with self._news:
            if not request.answer.done():
                request.answer.set_exception(error)

    def refuse(self, reason: str, camera: str | None = None) -> None:
        """Refuse all requests without an answer, or those for one camera. The caller holds the lock."""
        for request in (self._current, *self._waiting):
            if request and camera in (None, request.image.camera) and not request.answer.done():
                request.answer.set_exception(Refused(reason))
