# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The streams of images from the cameras: which image is next, which are kept, and what became of the others."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from std_msgs.msg import Header

from snscf_ros import images
from snscf_ros.images import ImageMessage, ImageRejected
from snscf_ros.messages import Counts
from snscf_ros.node.cameras import phrase
from snscf_ros.node.events import EventHandler, ImageRefused, TimeWentBack
from snscf_ros.node.init_requests import InitRequests
from snscf_ros.node.intake.recent_images import ReceivedImage, RecentImages
from snscf_ros.node.parameters import Settings
from snscf_ros.stamps import seconds_text
from snscf_ros.target_registry import Refused, TargetRegistry
from snscf_ros.topic_graph import Alternation, frame_ids_text, sizes_text

# stamps that go back by less belong to images that overtook each other
_OUT_OF_ORDER = 500_000_000  # ns


class CameraReport(NamedTuple):
    """What has come from a camera.

    counts: what became of its images.
    last_received: when the last image came (monotonic seconds); None for never.
    last_usable: the same for the last image that could be used.
    header: header of the last image that could be used.
    mixed: that several cameras publish on the topic; empty if that was not noticed.
    """

    counts: Counts
    last_received: float | None
    last_usable: float | None
    header: Header | None
    mixed: str = ""


class Demand(NamedTuple):
    """What is needed of a camera's images even where nothing is followed in them. Both take the camera's name.

    results: whether somebody waits for what is found in each image, even if it is nothing.
    pixels: whether the frames are needed.
    """

    results: Callable[[str], bool] = lambda camera: True
    pixels: Callable[[str], bool] = lambda camera: False


NO_PIXELS = Demand()


class CameraStream:
    """One camera's images. Not locked: `CameraStreams` guards it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.recent = RecentImages()
        self.counts = Counts()
        self.last_received: float | None = None
        self.last_usable: float | None = None
        self.last_refusal = ""  # why the last image was refused on arrival; empty if it was not
        self.waiting = False  # the newest image has not been taken yet
        self._frame_ids: Alternation[str] = Alternation()
        self._sizes: Alternation[tuple[int, int]] = Alternation()
        self._epoch = 0  # rises when the counts are reset
        self._next_number = 0
        self._unusable = False  # the last image that was decoded could not be used
        self._processed_at: deque[float] = deque(maxlen=30)

    def time_went_back(self, image: ReceivedImage) -> float:
        """Return by how many seconds the image is older than the one before, 0 for a mere overtaking.

        Stamps go back when a recording starts again and when the camera's clock is set. Those of another frame_id come
        from another camera, whose clock may differ.
        """
        newest = self.recent.newest_of(image.header.frame_id)
        if newest is None or not image.stamp_ns or not newest.stamp_ns:
            return 0.0
        back = newest.stamp_ns - image.stamp_ns
        return back * 1e-9 if back > _OUT_OF_ORDER else 0.0

    def accept(self, image: ReceivedImage, wanted: bool, seconds: float, most_bytes: int) -> bool:
        """Make an image the next one, in place of an older one. Drop it and return False if a newer one came before.

        wanted: whether the worker should take it.
        seconds, most_bytes: how much of the stream is kept.
        """
        frame_id = image.header.frame_id
        self._frame_ids.observe(frame_id, image.received)
        newest = self.recent.newest_of(frame_id)
        if newest is not None and newest.stamp_ns and image.stamp_ns and image.stamp_ns < newest.stamp_ns:
            self._count_dropped()
            return False
        if self.waiting:
            self._count_dropped()
        image.number, image.epoch = self._next_number, self._epoch
        self.recent.add(image, seconds, most_bytes)
        self._next_number += 1
        self.last_refusal = ""
        self.waiting = wanted
        self._unusable = self._unusable and wanted
        if not self._unusable:
            self.last_usable = image.received
        return True

    def take(self) -> ReceivedImage | None:
        """Return the newest image if it has not been taken yet. It is kept as well."""
        if not self.waiting:
            return None
        self.waiting = False
        return self.recent.newest

    def newest(self) -> ReceivedImage:
        """Return the image that was accepted last."""
        assert self.recent.newest is not None
        return self.recent.newest

    def ahead(self, number: int, frame_id: str) -> list[ReceivedImage]:
        """Return the kept images of a frame_id after that number.

        Leaves out an image that waits, because all targets will be tracked in it.
        """
        images = self.recent.after(number)
        return [image for image in (images[:-1] if self.waiting else images) if image.header.frame_id == frame_id]

    def observe_size(self, size: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Note the width and height of a decoded image, and return the sizes that alternate."""
        now = time.monotonic()
        self._sizes.observe(size, now)
        return self._sizes.values(now)

    def count_received(self) -> None:
        self.counts = replace(self.counts, received=self.counts.received + 1)
        self.last_received = time.monotonic()

    def count_refused(self, reason: str) -> None:
        """Count an image that was refused on arrival."""
        self.last_refusal = reason
        self.counts = replace(self.counts, rejected=self.counts.rejected + 1)

    def count_rejected(self, image: ReceivedImage) -> None:
        """Count an image that was taken and turned out to be unusable."""
        self._unusable = True
        if image.epoch == self._epoch:
            self.counts = replace(self.counts, rejected=self.counts.rejected + 1)

    def count_processed(self, image: ReceivedImage) -> bool:
        """Count an image that was tracked. Return False if the counts were reset meanwhile: it belongs to the past."""
        if image.epoch != self._epoch:
            return False
        self.counts = replace(self.counts, processed=self.counts.processed + 1)
        self._processed_at.append(time.monotonic())
        self._unusable = False
        self.last_usable = self._processed_at[-1]
        return True

    def forget_images(self) -> None:
        """Forget the kept images. An image that waits counts as dropped."""
        if self.waiting:
            self._count_dropped()
        self.recent.clear()
        self.waiting = False

    def reset(self) -> None:
        """Forget the kept images and set all counts to zero."""
        self.recent.clear()
        self.waiting = False
        self.counts = Counts()
        self.last_refusal = ""
        self._epoch += 1
        self._processed_at.clear()

    def report(self) -> CameraReport:
        newest = self.recent.newest
        return CameraReport(self.counts, self.last_received, self.last_usable, newest and newest.header, self.mixed)

    @property
    def mixed(self) -> str:
        """Return in one sentence that several cameras publish on the topic; empty if that was not noticed."""
        now = time.monotonic()
        if frame_ids := self._frame_ids.values(now):
            return frame_ids_text(frame_ids)
        sizes = self._sizes.values(now)
        return sizes_text(sizes) if sizes else ""

    @property
    def rate(self) -> float:
        """Images tracked per second, over the last 30; 0 before the second one."""
        times = self._processed_at
        if len(times) < 2 or times[-1] == times[0]:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])

    def _count_dropped(self) -> None:
        self.counts = replace(self.counts, dropped=self.counts.dropped + 1)


class CameraStreams:
    """The streams of all cameras, between the subscriptions that fill them and the worker that empties them.

    enabled: whether images are to be tracked; where not, they are only kept.
    closed: whether the worker is ending and takes no more images.
    """

    def __init__(
        self,
        names: Iterable[str],
        requests: InitRequests,
        targets: TargetRegistry,
        settings: Callable[[], Settings],
        on_event: EventHandler,
        news: threading.Condition,
        demand: Demand,
    ) -> None:
        self.enabled = True
        self.closed = False
        self._streams = {name: CameraStream(name) for name in names}
        self._turns = deque(self._streams.values())
        self._requests = requests
        self._targets = targets
        self._settings = settings
        self._on_event = on_event
        self._news = news
        self._demand = demand

    def __getitem__(self, camera: str) -> CameraStream:
        return self._streams[camera]

    def offer(self, camera: str, message: ImageMessage) -> None:
        """Check an image and make it the camera's next one, in place of one that waits. Returns at once."""
        received, settings, stream = time.monotonic(), self._settings(), self._streams[camera]
        if self.closed:
            return
        try:
            decode = images.check(message, settings.max_image_pixels)
        except ImageRejected as reason:
            self.refuse(camera, str(reason))
            return
        image = ReceivedImage(message, decode, camera, received)
        with self._news:
            stream.count_received()
            back = stream.time_went_back(image)
            dropped = self._restart(stream, settings) if back else []
            wanted = self.enabled and self._is_wanted(camera)
            if stream.accept(image, wanted, settings.buffer_seconds, settings.buffer_bytes):
                if wanted:
                    self._news.notify_all()
                elif self.enabled:
                    stream.count_processed(stream.newest())
        if back:
            self._on_event(TimeWentBack(camera, back, dropped))

    def _is_wanted(self, camera: str) -> bool:
        """Return whether the worker must see a camera's images; waking it for nothing costs more than the image."""
        return bool(self._targets.of_camera(camera)) or self._demand.results(camera)

    def refuse(self, camera: str, reason: str) -> None:
        """Count and report an image that cannot be used."""
        with self._news:
            stream = self._streams[camera]
            stream.count_received()
            stream.count_refused(reason)
        self._on_event(ImageRefused(camera, reason))

    def take(self, together: bool) -> list[ReceivedImage]:
        """Return the waiting image of the next camera in turn, or of all cameras if `together`; empty if none waits.

        The caller holds the lock.
        """
        taken: list[ReceivedImage] = []
        for _ in range(len(self._turns)):
            stream = self._turns[0]
            self._turns.rotate(-1)
            if (image := stream.take()) is not None:
                taken.append(image)
                if not together:
                    break
        return taken

    def find(self, camera: str, stamp_ns: int, or_newest: bool = False) -> ReceivedImage:
        """Return the image of that stamp, or the newest one if it is 0. An empty name means the first camera.

        or_newest: return the newest one, too, where no image of that stamp is kept.
        The caller holds the lock. Raises Refused where there is no such camera or image.
        """
        stream = self._streams.get(camera or next(iter(self._streams)))
        if stream is None:
            known = [known for known in self._streams if known]
            one = f"known are {', '.join(known)}" if known else "there is one, unnamed: leave 'camera' empty"
            raise Refused(f"camera '{camera}' is not known; {one}")
        if self.closed:
            raise Refused("the tracker is being deactivated")
        newest, oldest = stream.recent.newest, stream.recent.oldest
        if newest is None or oldest is None:
            if not stream.last_refusal:
                raise Refused(f"no image has come from {phrase(stream.name)} yet")
            raise Refused(
                f"no image from {phrase(stream.name)} could be used: {stream.counts.rejected} were rejected, the last"
                f" one because {stream.last_refusal}"
            )
        image = stream.recent.find(stamp_ns) if stamp_ns else newest
        if image is None and or_newest:
            return newest
        if image is None:
            raise Refused(
                f"no image of stamp {seconds_text(stamp_ns)} is kept; there are {len(stream.recent)} images of the last"
                f" {newest.received - oldest.received:.2f} s, with stamps from {seconds_text(oldest.stamp_ns)} to"
                f" {seconds_text(newest.stamp_ns)}; leave the stamp 0 to start on the newest image"
            )
        return image

    def enable(self, enabled: bool) -> None:
        """Go on tracking, or leave the images alone from now on."""
        with self._news:
            self.enabled = enabled
            if not enabled:
                for stream in self._streams.values():
                    stream.waiting = False

    def reset(self) -> None:
        """Forget all images and counts."""
        with self._news:
            for stream in self._streams.values():
                stream.reset()

    def newest(self) -> dict[str, ReceivedImage | None]:
        """Return each camera's newest image."""
        with self._news:
            return {name: stream.recent.newest for name, stream in self._streams.items()}

    def reports(self) -> dict[str, CameraReport]:
        with self._news:
            return {name: stream.report() for name, stream in self._streams.items()}

    def _restart(self, stream: CameraStream, settings: Settings) -> list[str]:
        """Forget a stream's images after its time went back, and its targets if so set; return their names."""
        stream.forget_images()
        if settings.targets_on_time_jump != "drop":
            return []
        self._requests.refuse("the camera's time went back before the target could be initialised", stream.name)
        return self._targets.remove_of_camera(stream.name)
