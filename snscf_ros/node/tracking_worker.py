# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that tracks: it takes the newest image of each camera and is the only one that touches the tracker.

The node's callbacks put images into its slots and requests into its queue and never wait for a frame, except
`init_target`, which waits for its own answer. Images and requests take turns, a step of catching up being one turn, so
that neither keeps the other waiting for longer than a frame takes. On a GPU, where that takes about as long for several
images as for one, all that wait are one turn.
"""

from __future__ import annotations

import functools
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from std_msgs.msg import Header

from snscf_core import Target, Track, Tracker
from snscf_ros.images import Frame, ImageRejected
from snscf_ros.messages import Box
from snscf_ros.node import recovery
from snscf_ros.node.camera_stream import CameraStream
from snscf_ros.node.parameters import Settings
from snscf_ros.node.recent_images import Buffered
from snscf_ros.received_image import Counts, ImageMessage, ReceivedImage
from snscf_ros.stamps import seconds_text
from snscf_ros.target_registry import FollowedTarget, Refused, TargetRegistry, TrackedTarget

# images in a row that the tracker fails on, before it is given up
MOST_FAILURES = 5


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


class Started(NamedTuple):
    """The answer to an init request."""

    target_id: str
    frames_caught_up: int


class CameraReport(NamedTuple):
    """What has come from a camera: counts, when the last image came and the last one that could be used (monotonic
    seconds; None: never), and the header of the latter."""

    counts: Counts
    last_received: float | None
    last_usable: float | None
    header: Header | None


class Listener(Protocol):
    """What the thread tells the node, from the thread, or from the one that calls `offer`."""

    def wants_pixels(self, camera: str) -> bool:
        """Whether `TrackedFrame.frame` is needed even when nothing is tracked."""
        ...

    def tracked(self, result: TrackedFrame) -> None: ...

    def rejected(self, camera: str, reason: str) -> None: ...

    def failed(self, camera: str, error: Exception) -> None: ...

    def fell_back(self, tracker: Tracker, error: Exception, dropped: list[str]) -> None:
        """The device failed; `tracker` has taken over, and could not take over the targets `dropped`."""
        ...

    def gave_up(self, error: Exception) -> None:
        """The thread has ended, because the tracker fails on every image."""
        ...

    def time_went_back(self, camera: str, seconds: float, dropped: list[str]) -> None: ...

    def took(self, stage: str, seconds: float) -> None: ...


class _Nobody:
    """Hears nothing."""

    def wants_pixels(self, camera: str) -> bool:
        return False

    def tracked(self, result: TrackedFrame) -> None:
        pass

    def rejected(self, camera: str, reason: str) -> None:
        pass

    def failed(self, camera: str, error: Exception) -> None:
        pass

    def fell_back(self, tracker: Tracker, error: Exception, dropped: list[str]) -> None:
        pass

    def gave_up(self, error: Exception) -> None:
        pass

    def time_went_back(self, camera: str, seconds: float, dropped: list[str]) -> None:
        pass

    def took(self, stage: str, seconds: float) -> None:
        pass


@dataclass
class _InitRequest:
    stream: CameraStream
    image: Buffered
    box: Box
    target_id: str
    # done before there is an answer: nobody waits for it any more
    answer: Future[Started] = field(default_factory=Future)


@dataclass
class _CatchUp:
    """A target on its way from the image that it was started on to the newest one."""

    request: _InitRequest
    target: Target
    began: float  # monotonic seconds
    deadline: float
    number: int  # of the buffered image that it has got to
    frames: int = 0
    steps: int = 1  # turns taken, the first one being the start
    track: Track | None = None
    ended: bool = False  # the time is over


@dataclass
class _Taken:
    """An image that was taken from its camera's stream, in this epoch of the stream's counts."""

    stream: CameraStream
    arrival: ReceivedImage
    epoch: int
    frame: Frame | None = None  # None where nobody needs the pixels


class TrackingWorker:
    """Runs from `start` to `stop`; can't be started again."""

    def __init__(
        self,
        tracker: Tracker,
        camera_names: Iterable[str],
        targets: TargetRegistry,
        settings: Callable[[], Settings],
        listener: Listener,
    ) -> None:
        self._tracker = tracker
        self._streams = {name: CameraStream(name) for name in camera_names}
        self._turns = deque(self._streams.values())
        self._targets = targets
        self._settings = settings
        self._listener: Listener = listener
        # guards the streams, the requests, the answers and the flags
        self._news = threading.Condition()
        self._requests: deque[_InitRequest] = deque()
        self._current: _InitRequest | None = None  # the last one that was begun
        self._catching_up: _CatchUp | None = None
        self._request_next = True
        self._enabled = True
        self._stopping = False
        self._busy_since: float | None = None  # monotonic seconds; with one job
        self._failures = 0  # in a row
        self._fell_back = False
        # the images that wait, in one pass; on a CPU all would be done only when the last of them is
        self._together = tracker.device.type != "cpu"
        self._decoded: tuple[ReceivedImage, Frame] | None = None
        # a daemon, so that a frame that takes seconds cannot keep the process alive after Ctrl-C
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Finish the frame at hand, refuse what waits, and end; False if that takes longer than `timeout` seconds."""
        with self._news:
            self._end("the tracker was deactivated before it could initialise the target")
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._listener = _Nobody()  # hears of what comes of it
            return False
        return True

    @property
    def busy_for(self) -> float:
        """Seconds that the job at hand, a frame or a start, has taken up to now; 0 if there is none."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def offer(self, camera_name: str, message: ImageMessage) -> None:
        """Hand over an image; it takes the place of an older one that is still waiting. Returns at once."""
        arrival = ReceivedImage(message)
        stream = self._streams[camera_name]
        settings = self._settings()
        if self._stopping:
            return
        try:
            arrival.check(settings.max_image_pixels)
        except ImageRejected as reason:
            with self._news:
                stream.count_received()
                stream.count_refused(str(reason))
            self._listener.rejected(camera_name, str(reason))
            return
        with self._news:
            stream.count_received()
            back = stream.time_went_back(arrival)
            dropped = self._begin_anew(stream, settings) if back else []
            if not stream.overtaken(arrival):
                stream.offer(arrival, self._enabled, settings.buffer_seconds, settings.buffer_bytes)
                self._news.notify_all()
        if back:
            self._listener.time_went_back(camera_name, back, dropped)

    def init(self, camera_name: str, stamp_ns: int, box: Box, target_id: str) -> Started:
        """Start following `box` in the image of that stamp, the newest one if it is 0, and bring the target to now.

        Raises Refused, or the core's ValueError.
        """
        settings = self._settings()
        self._targets.check(target_id, settings.max_targets)
        with self._news:
            request = self._init_request(camera_name, stamp_ns, box, target_id)
            self._requests.append(request)
            self._news.notify_all()
        try:
            return request.answer.result(settings.init_timeout)
        except FutureTimeoutError:
            with self._news:
                # in vain if the answer has come just now
                request.answer.cancel()
        try:
            return request.answer.result(0)
        except CancelledError:
            raise Refused(
                f"the tracker was busy for {settings.init_timeout:g} s (init_timeout); nothing was initialised"
            ) from None

    def enable(self, enabled: bool) -> None:
        """Go on tracking, or leave the images alone and keep the targets."""
        with self._news:
            self._enabled = enabled
            if not enabled:
                for stream in self._streams.values():
                    stream.pass_over()

    @property
    def enabled(self) -> bool:
        return self._enabled

    def reset(self) -> int:
        """Forget the targets and the cameras' images and counts, and refuse what waits; returns how many targets."""
        with self._news:
            self._refuse("the tracker was reset before it could initialise the target")
            for stream in self._streams.values():
                stream.forget()
            return self._targets.clear()

    def reports(self) -> dict[str, CameraReport]:
        with self._news:
            return {
                name: CameraReport(
                    stream.counts, stream.last_received, stream.last_usable, stream.newest and stream.newest.header
                )
                for name, stream in self._streams.items()
            }

    def _begin_anew(self, stream: CameraStream, settings: Settings) -> list[str]:
        """After its time went back: forget the stream's images, and its targets if so set; returns their names."""
        stream.forget_images()
        if settings.targets_on_time_jump != "drop":
            return []
        self._refuse("the camera's time went back before the target could be initialised", stream)
        return self._targets.remove_of_camera(stream.name)

    def _end(self, reason: str) -> None:
        self._stopping = True
        self._refuse(reason)
        self._news.notify_all()

    def _refuse(self, reason: str, stream: CameraStream | None = None) -> None:
        """Refuse the init requests that wait, of one stream or all."""
        for request in (self._current, *self._requests):
            if request and stream in (None, request.stream) and not request.answer.done():
                request.answer.set_exception(Refused(reason))

    def _init_request(self, camera_name: str, stamp_ns: int, box: Box, target_id: str) -> _InitRequest:
        name = camera_name or next(iter(self._streams))
        stream = self._streams.get(name)
        if stream is None:
            known = [known for known in self._streams if known]
            one = f"known are {', '.join(known)}" if known else "there is one, unnamed: leave 'camera' empty"
            raise Refused(f"camera '{camera_name}' is not known; {one}")
        if self._stopping:
            raise Refused("the tracker is being deactivated")
        newest, oldest = stream.images.newest, stream.images.oldest
        if newest is None or oldest is None:
            source = f"camera {name!r}" if name else "the camera"
            if not stream.last_refusal:
                raise Refused(f"no image has come from {source} yet")
            raise Refused(
                f"no image from {source} could be used: {stream.counts.rejected} were rejected, the last one because"
                f" {stream.last_refusal}"
            )
        image = stream.images.find(stamp_ns) if stamp_ns else newest
        if image is None:
            raise Refused(
                f"no image of stamp {seconds_text(stamp_ns)} is remembered; those of the last"
                f" {newest.arrival.received - oldest.arrival.received:.2f} s are, {len(stream.images)} images from"
                f" {seconds_text(oldest.arrival.stamp_ns)} to {seconds_text(newest.arrival.stamp_ns)};"
                " leave the stamp 0 to start on the newest image"
            )
        return _InitRequest(stream, image, box, target_id)

    # --- the thread ---

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._stopping and (job := self._next_job()) is None:
                    self._news.wait()
                if self._stopping:
                    return
            assert job is not None
            self._busy_since = time.monotonic()
            self._do(job)
            self._busy_since = None

    def _do(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # a mistake of our own must not end the thread unnoticed
            self._listener.failed("", error)
            self._count_failure(error)

    def _next_job(self) -> Callable[[], None] | None:
        """Images and requests in turn."""
        jobs = (self._request_job, self._image_job)
        for job in jobs if self._request_next else reversed(jobs):
            if (found := job()) is not None:
                self._request_next = job == self._image_job
                return found
        return None

    def _request_job(self) -> Callable[[], None] | None:
        if self._catching_up is not None:
            return functools.partial(self._catch_up, self._catching_up)
        while self._requests:
            request = self._requests.popleft()
            if not request.answer.done():
                self._current = request
                return functools.partial(self._initialise, request)
        return None

    def _image_job(self) -> Callable[[], None] | None:
        """The next camera in turn with an image that waits; together, all of them."""
        taken: list[_Taken] = []
        for _ in range(len(self._turns)):
            stream = self._turns[0]
            self._turns.rotate(-1)
            if (arrival := stream.take()) is not None:
                taken.append(_Taken(stream, arrival, stream.epoch))
                if not self._together:
                    break
        return functools.partial(self._track, taken) if taken else None

    def _initialise(self, request: _InitRequest) -> None:
        began = time.monotonic()
        arrival = request.image.arrival
        try:
            target = self._tracker.init(self._frame(arrival), request.box)
        except Exception as error:
            if not isinstance(error, ValueError) and self._recovered(request.stream, error):
                self._initialise(request)
            else:
                self._fail(request, error)
            return
        settings = self._settings()
        # the caller must get the answer in time
        most = min(settings.catch_up_time, settings.init_timeout / 2)
        with self._news:
            self._catching_up = _CatchUp(request, target, began, time.monotonic() + most, request.image.number)
            self._join_if_there(self._catching_up)

    def _catch_up(self, catching: _CatchUp) -> None:
        """One step towards now; those that follow are spread evenly over the images and the time that are left."""
        with self._news:
            if self._join_if_there(catching):
                return
            ahead = self._ahead(catching)
            now = time.monotonic()
            left = catching.deadline - now
            # with what is tracked in between
            step = (now - catching.began) / catching.steps
            steps = max(1, int(left / step)) if step > 0 else len(ahead)
            image = ahead[min(math.ceil(len(ahead) / steps), len(ahead)) - 1]
            catching.ended = left <= 0
        catching.number = image.number
        catching.steps += 1
        try:
            # not kept: the newest image, which others share, stays decoded
            catching.track = self._tracker.update(image.arrival.frame(), catching.target)
            catching.frames += 1
        except ValueError:
            pass  # an image that cannot be used changes nothing
        except Exception as error:
            with self._news:
                self._catching_up = None
            self._recovered(catching.request.stream, error)
            self._fail(catching.request, error)
            return
        with self._news:
            self._join_if_there(catching)

    def _ahead(self, catching: _CatchUp) -> list[Buffered]:
        """The images that the target has not been followed through; one that waits is tracked with the others' turn."""
        stream = catching.request.stream
        ahead = stream.images.after(catching.number)
        return ahead[:-1] if stream.waiting else ahead

    def _join_if_there(self, catching: _CatchUp) -> bool:
        """Let a target that has got to the newest image join the others, and answer; True if nothing is left to do."""
        request = catching.request
        if not request.answer.done():
            if self._ahead(catching) and not catching.ended:
                return False
            try:
                name = self._targets.add(
                    request.target_id,
                    request.stream.name,
                    catching.target,
                    self._settings().max_targets,
                    catching.track,
                )
                request.answer.set_result(Started(name, catching.frames))
            except Refused as reason:
                request.answer.set_exception(reason)
        self._catching_up = None
        return True

    def _fail(self, request: _InitRequest, error: Exception) -> None:
        with self._news:
            if not request.answer.done():
                request.answer.set_exception(error)

    def _track(self, taken: list[_Taken]) -> None:
        self._follow([image for image in taken if self._decode(image)])

    def _decode(self, image: _Taken) -> bool:
        """Get the pixels if somebody needs them; False if the image cannot be used."""
        try:
            if self._targets.of_camera(image.stream.name) or self._listener.wants_pixels(image.stream.name):
                image.frame = self._frame(image.arrival)
        except Exception as error:
            self._reject(image, error)
            return False
        return True

    def _follow(self, images: list[_Taken]) -> None:
        """Find the targets, in one pass for all images; where that fails one by one, so that none harms the others."""
        # not before: targets may have been removed, or moved to the CPU, since it was found that there are some
        followed = [self._targets.of_camera(image.stream.name) if image.frame is not None else [] for image in images]
        try:
            tracks = self._update(images, followed)
        except Exception as error:  # one bad frame must not end the thread
            if len(images) == 1:
                self._reject(images[0], error)
                return
            if not isinstance(error, ValueError) and sum(map(bool, followed)) > 1:
                self._together = False  # from now on: it may be the number of them that is too much
                names = ", ".join(image.stream.name for image in images)
                self._listener.failed(names, RuntimeError(f"{error}; from now on they are tracked one by one"))
            for image in images:
                self._busy_since = time.monotonic()
                self._do(functools.partial(self._follow, [image]))
            return
        for image, found in zip(images, tracks, strict=True):
            self._do(functools.partial(self._tell, image, found))

    def _tell(self, image: _Taken, found: list[tuple[FollowedTarget, Track]]) -> None:
        tracked, stream = self._targets.record(found), image.stream
        with self._news:
            if stream.epoch != image.epoch:  # reset meanwhile: this image belongs to what is forgotten
                return
            stream.count_processed()
            counts, rate = stream.counts, stream.rate
            if not self._enabled:
                return
        started = time.monotonic()
        arrival = image.arrival
        self._listener.tracked(
            TrackedFrame(stream.name, arrival.header, arrival.received, tracked, counts, rate, image.frame)
        )
        self._listener.took("publish", time.monotonic() - started)

    def _reject(self, image: _Taken, error: Exception) -> None:
        """Count an image that could not be tracked, and tell why: a ValueError is its own fault, else the tracker's."""
        with self._news:
            image.stream.count_rejected(image.epoch)
        if isinstance(error, ValueError):
            self._listener.rejected(image.stream.name, str(error))
        elif not self._recovered(image.stream, error):
            self._count_failure(error)

    def _recovered(self, stream: CameraStream, error: Exception) -> bool:
        """After the tracker itself has failed: True if torch on the CPU has taken over, which happens once."""
        self._listener.failed(stream.name, error)
        if self._fell_back or (self._tracker.device.type, self._tracker.engine) == ("cpu", "torch"):
            return False
        self._fell_back = True
        try:
            self._fall_back(error)
        except Exception as worse:
            self._listener.failed(stream.name, worse)
            return False
        return True

    def _fall_back(self, error: Exception) -> None:
        spare = recovery.on_cpu(self._tracker)
        with self._news:
            newest = {name: stream.newest for name, stream in self._streams.items()}
        moved: dict[str, Target | None] = {}
        for name, arrival in newest.items():
            targets = {one.target_id: one.target for one in self._targets.of_camera(name)}
            moved.update(recovery.moved(targets, spare, arrival))
        self._targets.exchange(moved)
        self._tracker, self._together = spare, False
        with self._news:
            catching, self._catching_up = self._catching_up, None
        if catching is not None:
            self._fail(catching.request, error)
        self._listener.fell_back(spare, error, [name for name, target in moved.items() if target is None])

    def _count_failure(self, error: Exception) -> None:
        """A tracker that fails on one image after the other is given up: trying on would only burn the processor."""
        self._failures += 1
        if self._failures == MOST_FAILURES:  # told once, though the other images of a pass may fail, too
            with self._news:
                self._end(f"the tracker fails on every image: {error}")
            self._listener.gave_up(error)

    def _update(
        self, images: list[_Taken], followed: list[list[FollowedTarget]]
    ) -> list[list[tuple[FollowedTarget, Track]]]:
        """The tracks of what is followed in each image."""
        views = [
            (image.frame, [f.target for f in ones])
            for image, ones in zip(images, followed, strict=True)
            if image.frame is not None and ones
        ]
        if not views:
            return [[] for _ in images]
        started = time.monotonic()
        tracks = iter(self._tracker.update_views(views) if len(views) > 1 else [self._tracker.update(*views[0])])
        self._failures = 0
        seconds = time.monotonic() - started
        for _ in views:  # each has waited for all
            self._listener.took("track", seconds)
        return [list(zip(ones, next(tracks), strict=True)) if ones else [] for ones in followed]

    def _frame(self, arrival: ReceivedImage) -> Frame:
        """The pixels of an image, decoded once."""
        if self._decoded is None or self._decoded[0] is not arrival:
            started = time.monotonic()
            self._decoded = (arrival, arrival.frame())
            self._listener.took("decode", time.monotonic() - started)
        return self._decoded[1]
