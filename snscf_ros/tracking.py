"""The thread that tracks: it takes the newest image of each camera and is the only one that touches the tracker.

The node's callbacks put images into its slots and requests into its queue and never wait for a frame, except
`init_target`, which waits for its own answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import Protocol

from std_msgs.msg import Header

from snscf_core import Track, Tracker
from snscf_ros.cameras import Arrival, Camera, Counts, ImageMessage
from snscf_ros.images import Frame, ImageRejected
from snscf_ros.messages import Box
from snscf_ros.parameters import Settings
from snscf_ros.targets import Followed, Refused, Targets, TrackedTarget


@dataclass(frozen=True)
class TrackedFrame:
    """What came out of one image."""

    camera: str
    header: Header
    received: float  # monotonic seconds
    targets: tuple[TrackedTarget, ...]
    counts: Counts
    rate: float  # frames tracked in a second
    frame: Frame | None  # None where nobody needed the pixels


class Listener(Protocol):
    """What the thread tells the node, from the thread."""

    def wants_pixels(self) -> bool:
        """Whether `TrackedFrame.frame` is needed even when nothing is tracked."""
        ...

    def tracked(self, result: TrackedFrame) -> None: ...

    def rejected(self, camera: str, reason: str) -> None: ...

    def failed(self, camera: str, error: Exception) -> None: ...

    def took(self, stage: str, seconds: float) -> None: ...


@dataclass
class _InitRequest:
    camera: Camera
    arrival: Arrival
    box: Box
    target_id: str
    answer: Future[str] = field(default_factory=Future)
    abandoned: bool = False


class TrackingThread:
    """Runs from `start` to `stop`; can't be started again."""

    def __init__(
        self,
        tracker: Tracker,
        camera_names: Iterable[str],
        targets: Targets,
        settings: Callable[[], Settings],
        listener: Listener,
    ) -> None:
        self._tracker = tracker
        self._cameras = {name: Camera(name) for name in camera_names}
        self._turns = deque(self._cameras.values())
        self._targets = targets
        self._settings = settings
        self._listener = listener
        # guards the cameras, the requests and the two flags
        self._news = threading.Condition()
        self._requests: deque[_InitRequest] = deque()
        self._enabled = True
        self._stopping = False
        self._decoded: tuple[Arrival, Frame] | None = None
        # a daemon, so that a frame that takes seconds cannot keep the process alive after Ctrl-C
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Finish the frame at hand, refuse what waits, and end; False if that takes longer than `timeout` seconds."""
        with self._news:
            self._stopping = True
            for request in self._requests:
                request.answer.cancel()
            self._requests.clear()
            self._news.notify_all()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def offer(self, camera_name: str, message: ImageMessage) -> None:
        """Hand over an image; it takes the place of an older one that is still waiting. Returns at once."""
        arrival = Arrival(message)
        camera = self._cameras[camera_name]
        try:
            arrival.check(self._settings().max_image_pixels)
        except ImageRejected as reason:
            with self._news:
                camera.count_received()
                camera.count_rejected()
            self._listener.rejected(camera_name, str(reason))
            return
        with self._news:
            camera.count_received()
            camera.offer(arrival, wanted=self._enabled)
            self._news.notify_all()

    def init(self, camera_name: str, stamp_ns: int, box: Box, target_id: str) -> str:
        """Start following `box` in the newest image of a camera; returns the target's id.

        `stamp_ns`, if not 0, must be that image's. Raises Refused, or the core's ValueError.
        """
        settings = self._settings()
        self._targets.check_room(target_id, settings.max_targets)
        with self._news:
            request = self._init_request(camera_name, stamp_ns, box, target_id)
            self._requests.append(request)
            self._news.notify_all()
        try:
            return request.answer.result(settings.init_timeout)
        except FutureTimeoutError:
            with self._news:
                request.abandoned = True
            raise Refused(
                f"the tracker was busy for {settings.init_timeout:g} s (init_timeout); nothing was initialised"
            ) from None
        except CancelledError:
            raise Refused("the tracker was deactivated before it could initialise the target") from None

    def enable(self, enabled: bool) -> None:
        """Go on tracking, or leave the images alone and keep the targets."""
        with self._news:
            self._enabled = enabled
            if not enabled:
                for camera in self._cameras.values():
                    camera.pass_over()

    @property
    def enabled(self) -> bool:
        return self._enabled

    def reset(self) -> None:
        """Forget the cameras' images and counts."""
        with self._news:
            for camera in self._cameras.values():
                camera.forget()

    def counts(self) -> dict[str, tuple[Counts, float | None]]:
        """For each camera its counts, and when its last image came (monotonic seconds; None: never)."""
        with self._news:
            return {name: (camera.counts, camera.last_received) for name, camera in self._cameras.items()}

    def _init_request(self, camera_name: str, stamp_ns: int, box: Box, target_id: str) -> _InitRequest:
        name = camera_name or next(iter(self._cameras))
        camera = self._cameras.get(name)
        if camera is None:
            known = [known for known in self._cameras if known]
            one = f"known are {', '.join(known)}" if known else "there is one, unnamed: leave 'camera' empty"
            raise Refused(f"camera '{camera_name}' is not known; {one}")
        if self._stopping:
            raise Refused("the tracker is being deactivated")
        if camera.newest is None:
            raise Refused(f"no image has come from {f'camera {name!r}' if name else 'the camera'} yet")
        newest_ns = _nanoseconds(camera.newest.header)
        if stamp_ns and stamp_ns != newest_ns:
            raise Refused(
                f"stamp {_seconds(stamp_ns)} is not that of the newest image, {_seconds(newest_ns)};"
                " leave it 0 to start on the newest image"
            )
        return _InitRequest(camera, camera.newest, box, target_id)

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._stopping and not self._requests and not (turn := self._next_turn()):
                    self._news.wait()
                if self._stopping:
                    return
                request = self._requests.popleft() if self._requests else None
            if request is not None:
                self._answer(request)
            elif turn is not None:
                self._track(*turn)

    def _next_turn(self) -> tuple[Camera, Arrival] | None:
        """The next camera in turn with an image that waits."""
        for _ in range(len(self._turns)):
            camera = self._turns[0]
            self._turns.rotate(-1)
            if (arrival := camera.take()) is not None:
                return camera, arrival
        return None

    def _answer(self, request: _InitRequest) -> None:
        if not request.answer.set_running_or_notify_cancel():
            return
        try:
            target = self._tracker.init(self._frame(request.arrival), request.box)
            with self._news:
                if request.abandoned:
                    raise Refused("given up")
                target_id = self._targets.add(
                    request.target_id, request.camera.name, target, self._settings().max_targets
                )
            request.answer.set_result(target_id)
        except Exception as error:  # whatever it is, the caller waits for it
            request.answer.set_exception(error)

    def _track(self, camera: Camera, arrival: Arrival) -> None:
        try:
            followed = self._targets.of_camera(camera.name)
            frame = self._frame(arrival) if followed or self._listener.wants_pixels() else None
            tracked = self._targets.record(self._update(frame, followed)) if frame is not None else ()
        except ValueError as reason:
            with self._news:
                camera.count_rejected()
            self._listener.rejected(camera.name, str(reason))
            return
        except Exception as error:  # one bad frame must not end the thread
            with self._news:
                camera.count_rejected()
            self._listener.failed(camera.name, error)
            return
        with self._news:
            camera.count_processed()
            counts, rate = camera.counts, camera.rate
        started = time.monotonic()
        self._listener.tracked(
            TrackedFrame(camera.name, arrival.header, arrival.received, tracked, counts, rate, frame)
        )
        self._listener.took("publish", time.monotonic() - started)

    def _update(self, frame: Frame, followed: list[Followed]) -> list[tuple[Followed, Track]]:
        if not followed:
            return []
        started = time.monotonic()
        tracks = self._tracker.update(frame, [f.target for f in followed])
        self._listener.took("track", time.monotonic() - started)
        return list(zip(followed, tracks, strict=True))

    def _frame(self, arrival: Arrival) -> Frame:
        """The pixels of an image, decoded once."""
        if self._decoded is None or self._decoded[0] is not arrival:
            started = time.monotonic()
            self._decoded = (arrival, arrival.frame())
            self._listener.took("decode", time.monotonic() - started)
        return self._decoded[1]


def _nanoseconds(header: Header) -> int:
    return int(header.stamp.sec) * 1_000_000_000 + int(header.stamp.nanosec)


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds // 1_000_000_000}.{nanoseconds % 1_000_000_000:09d}"
