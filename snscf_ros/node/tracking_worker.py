# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that tracks. It takes the newest image of each camera, and nothing else touches the tracker.

The node's callbacks leave images and requests here and never wait for a frame, except `init_target`, which waits for
its own answer. Images and requests take turns, and a step of catching up is one turn, so that neither keeps the other
waiting for longer than a frame takes. A GPU tracks several images in about the time of one, so there all images that
wait are one turn.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterable

from snscf_core import Track, Tracker
from snscf_ros.encodings import Frame
from snscf_ros.images import image_size
from snscf_ros.messages import Box
from snscf_ros.node import recovery
from snscf_ros.node.camera_stream import NO_PIXELS, CameraReport, CameraStreams, Demand
from snscf_ros.node.catch_up import CatchUp, TargetStarter
from snscf_ros.node.events import (
    Event,
    EventHandler,
    FellBack,
    GaveUp,
    ImageRefused,
    StageTimed,
    TrackedFrame,
    TrackingFailed,
)
from snscf_ros.node.init_requests import ImagePoint, InitRequest, InitRequests, Started
from snscf_ros.node.intake.recent_images import ReceivedImage
from snscf_ros.node.parameters import Settings
from snscf_ros.target_registry import FollowedTarget, TargetRegistry

# images in a row that the tracker may fail on before it is given up
MOST_FAILURES = 5

_Job = Callable[[], None]
# an image and its pixels; None where nobody needs them
_View = tuple[ReceivedImage, Frame | None]
_Tracks = list[tuple[FollowedTarget, Track]]


def _leave(image: ReceivedImage, followed: list[FollowedTarget]) -> None:
    pass


class TrackingWorker:
    """Runs from `start` to `stop`. Cannot be started again.

    streams: takes the images in; see `CameraStreams.offer`.
    """

    def __init__(
        self,
        tracker: Tracker,
        camera_names: Iterable[str],
        targets: TargetRegistry,
        settings: Callable[[], Settings],
        on_event: EventHandler,
        demand: Demand = NO_PIXELS,
        carry: Callable[[ReceivedImage, list[FollowedTarget]], None] = _leave,
    ) -> None:
        """Prepare the thread.

        on_event: called with each event, from this thread or from the thread that offers an image.
        demand: what is needed of a camera's images even where nothing is followed.
        carry: called before targets are looked for in an image. It may move them by what is known of the camera.
        """
        self._tracker = tracker
        self._targets = targets
        self._settings = settings
        self._on_event = on_event
        self._demand = demand
        self._carry = carry
        # guards the streams, the requests and their answers
        self._news = threading.Condition()
        self._requests = InitRequests(self._news)
        self.streams = CameraStreams(camera_names, self._requests, targets, settings, self._emit, self._news, demand)
        self._starter = TargetStarter(self.streams, self._requests, targets, settings, self._news)
        self._request_next = True
        self._left_behind = False
        self._busy_since: float | None = None  # monotonic seconds; with one job
        self._failures = 0  # in a row
        self._fell_back = False
        # whether images that wait are tracked in one pass; on a CPU each would then be done only with the last of them
        self._together = tracker.device.type != "cpu"
        self._decoded: tuple[ReceivedImage, Frame] | None = None
        # a daemon, so that a frame that takes seconds cannot keep the process alive after Ctrl-C
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float) -> bool:
        """Finish the frame at hand, refuse what waits, and end. Return False if that takes longer than `timeout` s."""
        self._end("the tracker was deactivated before it could initialise the target")
        self._thread.join(timeout)
        # the result of a frame that does not end is not reported
        self._left_behind = self._thread.is_alive()
        return not self._left_behind

    @property
    def busy_for(self) -> float:
        """Return the seconds since the current frame or start began; 0 while the worker is idle."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    @property
    def enabled(self) -> bool:
        return self.streams.enabled

    def enable(self, enabled: bool) -> None:
        """Go on tracking, or leave the images alone and keep the targets."""
        self.streams.enable(enabled)

    def reports(self) -> dict[str, CameraReport]:
        return self.streams.reports()

    def init(
        self,
        camera: str,
        stamp_ns: int,
        place: Box | ImagePoint,
        target_id: str,
        class_id: str = "",
        or_newest: bool = False,
    ) -> Started:
        """Start following what is at `place` in the image of that stamp, and bring the target to now.

        The newest image is taken if the stamp is 0, and with `or_newest` if no image of that stamp is kept.
        Raises Refused, or the core's ValueError.
        """
        settings = self._settings()
        self._targets.check(target_id, settings.max_targets)
        with self._news:
            image = self.streams.find(camera, stamp_ns, or_newest)
            request = InitRequest(image, place, target_id, class_id)
            self._requests.add(request)
        return self._requests.wait(request, settings.init_timeout)

    def reset(self) -> int:
        """Forget the targets and the cameras' images and counts, and refuse what waits. Return how many targets."""
        with self._news:
            self._requests.refuse("the tracker was reset before it could initialise the target")
            self.streams.reset()
            return self._targets.clear()

    def _end(self, reason: str) -> None:
        with self._news:
            self.streams.closed = True
            self._requests.refuse(reason)
            self._news.notify_all()

    def _emit(self, event: Event) -> None:
        if not self._left_behind:
            self._on_event(event)

    # --- turns ---

    def _run(self) -> None:
        while (job := self._next_job()) is not None:
            self._busy_since = time.monotonic()
            self._do(job)
            self._busy_since = None

    def _next_job(self) -> _Job | None:
        """Wait for the next job; images and requests take turns. Return None when the thread is to end."""
        with self._news:
            while not self.streams.closed:
                turns = (self._request_job, self._image_job)
                for turn in turns if self._request_next else reversed(turns):
                    if (job := turn()) is not None:
                        self._request_next = turn == self._image_job
                        return job
                self._news.wait()
            return None

    def _request_job(self) -> _Job | None:
        if (catching_up := self._starter.catching_up) is not None:
            return functools.partial(self._catch_up, catching_up)
        if (request := self._requests.take()) is not None:
            return functools.partial(self._start_target, request)
        return None

    def _image_job(self) -> _Job | None:
        images = self.streams.take(self._together)
        return functools.partial(self._track, images) if images else None

    def _do(self, job: _Job) -> None:
        try:
            job()
        except Exception as error:  # a mistake of our own must not end the thread unnoticed
            self._emit(TrackingFailed("", error))
            self._count_failure(error)

    # --- starting targets ---

    def _start_target(self, request: InitRequest) -> None:
        try:
            self._starter.start(request, self._tracker, self._decode)
        except Exception as error:
            if self._recover(request.image.camera, error):
                self._start_target(request)
            else:
                self._requests.fail(request, error)

    def _catch_up(self, catching_up: CatchUp) -> None:
        try:
            self._starter.step(catching_up, self._tracker)
        except Exception as error:
            self._recover(catching_up.request.image.camera, error)
            self._requests.fail(catching_up.request, error)

    # --- tracking in images: decode, update, publish ---

    def _track(self, images: list[ReceivedImage]) -> None:
        views: list[_View] = []
        for image in images:
            try:
                frame_id = image.header.frame_id
                needed = self._demand.pixels(image.camera) or any(
                    one.frame_id == frame_id for one in self._targets.of_camera(image.camera)
                )
                views.append((image, self._decode(image) if needed else None))
            except Exception as error:
                self._reject(image, error)
        self._update(views)

    def _decode(self, image: ReceivedImage) -> Frame:
        """Return the pixels of an image, which is decoded once."""
        if self._decoded is None or self._decoded[0] is not image:
            started = time.monotonic()
            self._decoded = (image, image.decode())
            self._emit(StageTimed("decode", time.monotonic() - started))
        return self._decoded[1]

    def _update(self, views: list[_View]) -> None:
        """Find the targets in all images in one pass. Where that fails, one by one, so that none harms the others."""
        # looked up again: targets may have been removed, or moved to the CPU, since the pixels were decoded
        followed = [self._followed_in(image, frame) if frame is not None else [] for image, frame in views]
        try:
            tracks = self._tracks(views, followed)
        except Exception as error:  # one bad frame must not end the thread
            self._update_one_by_one(views, sum(map(bool, followed)), error)
            return
        for view, found in zip(views, tracks, strict=True):
            self._do(functools.partial(self._publish, view, found))

    def _followed_in(self, image: ReceivedImage, frame: Frame) -> list[FollowedTarget]:
        """Return the targets that an image shows: not those of another camera that publishes on the same topic."""
        size = (frame.shape[1], frame.shape[0])
        with self._news:
            alternating = self.streams[image.camera].observe_size(size)
        followed = self._targets.of_camera(image.camera)
        seen = [one for one in followed if one.is_seen_in(image.header.frame_id, size, alternating)]
        self._carry(image, seen)
        return seen

    def _tracks(self, views: list[_View], followed: list[list[FollowedTarget]]) -> list[_Tracks]:
        """Track what is followed in each image."""
        given = [
            (frame, [one.target for one in ones])
            for (_, frame), ones in zip(views, followed, strict=True)
            if frame is not None and ones
        ]
        if not given:
            return [[] for _ in views]
        started = time.monotonic()
        received = [image.received for (image, _), ones in zip(views, followed, strict=True) if ones]
        budget = _left(self._settings().max_latency, min(received))
        if len(given) > 1:
            tracks = iter(self._tracker.update_views(given, budget=budget))
        else:
            tracks = iter([self._tracker.update(*given[0], budget=budget)])
        self._failures = 0
        seconds = time.monotonic() - started
        for _ in given:  # each has waited for all
            self._emit(StageTimed("track", seconds))
        return [list(zip(ones, next(tracks), strict=True)) if ones else [] for ones in followed]

    def _publish(self, view: _View, found: _Tracks) -> None:
        """Record the tracks of one image and hand them on as a `TrackedFrame`."""
        image, frame = view
        targets, stream = self._targets.record(found), self.streams[image.camera]
        with self._news:
            if not stream.count_processed(image):
                return
            counts, rate = stream.counts, stream.rate
            if not self.streams.enabled:
                return
        size = image_size(image.message) if frame is None else (frame.shape[1], frame.shape[0])
        started = time.monotonic()
        self._emit(TrackedFrame(image.camera, image.header, size, image.received, targets, counts, rate, frame))
        self._emit(StageTimed("publish", time.monotonic() - started))

    # --- failures ---

    def _update_one_by_one(self, views: list[_View], cameras: int, error: Exception) -> None:
        """After a pass over several images failed, track in each alone; a single image is rejected.

        cameras: in how many of the images targets are followed.
        """
        if len(views) == 1:
            self._reject(views[0][0], error)
            return
        if not isinstance(error, ValueError) and cameras > 1:
            self._together = False  # from now on: so many images at once may be too much
            names = ", ".join(image.camera for image, _ in views)
            self._emit(TrackingFailed(names, RuntimeError(f"{error}; from now on they are tracked one by one")))
        for view in views:
            self._busy_since = time.monotonic()
            self._do(functools.partial(self._update, [view]))

    def _reject(self, image: ReceivedImage, error: Exception) -> None:
        """Count an image that could not be tracked. A ValueError is the image's fault, another error the tracker's."""
        with self._news:
            self.streams[image.camera].count_rejected(image)
        if isinstance(error, ValueError):
            self._emit(ImageRefused(image.camera, str(error)))
        elif not self._recover(image.camera, error):
            self._count_failure(error)

    def _recover(self, camera: str, error: Exception) -> bool:
        """After the tracker failed, let torch on the CPU take over, once. Return whether it has just done so."""
        self._emit(TrackingFailed(camera, error))
        if self._fell_back or not recovery.can_fall_back(self._tracker):
            return False
        self._fell_back = True
        try:
            spare, dropped = recovery.fall_back(self._tracker, self._targets, self.streams.newest)
        except Exception as worse:
            self._emit(TrackingFailed(camera, worse))
            return False
        self._tracker, self._together = spare, False
        self._starter.abandon(error)
        self._emit(FellBack(spare, error, dropped))
        return True

    def _count_failure(self, error: Exception) -> None:
        """Give up a tracker that fails on one image after the other: trying on would only burn the processor."""
        self._failures += 1
        if self._failures == MOST_FAILURES:  # said once, though the other images of a pass may fail as well
            self._end(f"the tracker fails on every image: {error}")
            self._emit(GaveUp(error))


def _left(max_latency: float, received: float) -> float | None:
    """Return the seconds that are left for tracking in an image; None if they have no limit."""
    return max(0.0, received + max_latency - time.monotonic()) if max_latency else None
