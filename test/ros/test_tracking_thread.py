# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the tracking thread promises while a frame is being tracked, with a tracker that takes as long as a test wants.

Only the time that tracking takes is made up here; the real tracker runs in the tests of the node.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from ros_harness import compressed_message, image_message, key, stamp_of, wait_for

from snscf_core import Track, TrackState
from snscf_ros import bringup
from snscf_ros.node import events, parameters, recovery
from snscf_ros.node.camera_stream import Demand
from snscf_ros.node.tracking_worker import MOST_FAILURES, TrackingWorker
from snscf_ros.target_registry import Refused, TargetRegistry

BOX = (4.0, 4.0, 20.0, 20.0)
TRACK = Track(box=BOX, score=1.0, state=TrackState.TRACKED, peak_quality=9.0)
SETTINGS = parameters.settings_of({**bringup.default_parameters(), "init_timeout": 30.0})


class HeldTracker:
    """Every init and update waits until it is let go."""

    def __init__(self) -> None:
        self.go, self.at_work = threading.Event(), threading.Event()
        self.go.set()
        self.error: Exception | None = None
        self.device, self.engine = torch.device("cpu"), "torch"

    def _work(self) -> None:
        self.at_work.set()
        assert self.go.wait(60)
        self.at_work.clear()
        if self.error is not None:
            raise self.error

    def init(self, frame, box):
        self._work()
        return object()

    def update(self, frame, targets, budget=None):
        self._work()
        return [TRACK for _ in targets]


class Heard:
    """Writes down the events."""

    def __init__(self) -> None:
        self.results, self.rejections, self.failures, self.jumps, self.ends = [], [], [], [], []
        self.stages, self.fallbacks = [], []

    def on_event(self, event) -> None:
        match event:
            case events.TrackedFrame():
                self.tracked(event)
            case events.ImageRefused(_, reason):
                self.rejections.append(reason)
            case events.TrackingFailed(_, error):
                self.failures.append(error)
            case events.FellBack(tracker):
                self.fallbacks.append(tracker)
            case events.GaveUp(error):
                self.ends.append(error)
            case events.TimeWentBack(camera, seconds, dropped):
                self.jumps.append((camera, seconds, dropped))
            case events.StageTimed(stage, seconds):
                assert seconds >= 0
                self.stages.append(stage)

    def tracked(self, result) -> None:
        self.results.append(result)


class Bench:
    def __init__(self, settings=SETTINGS, tracker=None, cameras=("",), **more) -> None:
        self.tracker, self.settings = tracker or HeldTracker(), settings
        self.heard, self.targets = Heard(), TargetRegistry()
        self.thread = TrackingWorker(
            self.tracker, cameras, self.targets, lambda: self.settings, self.heard.on_event, **more
        )
        self.thread.start()

    def offer(self, number: int) -> None:
        self.thread.streams.offer("", image_message(np.zeros((32, 32, 3), np.uint8), "bgr8", stamp_of(number)))

    def hold(self, number: int) -> None:
        """Have the thread at work on a frame that does not end."""
        wait_for(lambda: len(self.heard.results) > 0 or not self.targets.latest(), "the frames before")
        self.tracker.at_work.clear()
        self.tracker.go.clear()
        self.offer(number)
        assert self.tracker.at_work.wait(60)

    def processed(self, count: int) -> None:
        wait_for(lambda: self.thread.reports()[""].counts.processed == count, f"{count} frames")


@pytest.fixture
def bench():
    made = Bench()
    yield made
    made.tracker.go.set()
    assert made.thread.stop(60)


def started(bench: Bench) -> None:
    """One target, one frame done."""
    bench.offer(0)
    bench.processed(1)
    assert bench.thread.init("", 0, BOX, "").target_id == "target_1"


def test_newest_frame_wins_and_the_others_are_counted(bench):
    started(bench)
    bench.hold(1)
    for number in range(2, 7):
        bench.offer(number)
    bench.tracker.go.set()
    bench.processed(3)
    counts = bench.thread.reports()[""].counts
    assert (counts.received, counts.processed, counts.dropped, counts.rejected) == (7, 3, 4, 0)
    assert [result.header.stamp for result in bench.heard.results] == [stamp_of(n) for n in (0, 1, 6)]


def test_images_that_nobody_needs_are_counted_and_kept_without_the_thread():
    listening = []
    bench = Bench(demand=Demand(results=lambda camera: bool(listening)))
    for number in range(3):
        bench.offer(number)
    counts = bench.thread.reports()[""].counts
    assert (counts.received, counts.processed, counts.dropped) == (3, 3, 0)
    assert len(bench.thread.streams[""].recent) == 3
    bench.thread.init("", 0, BOX, "")
    assert bench.heard.results == []
    bench.offer(3)
    wait_for(lambda: bench.heard.results, "a result once something is followed")
    bench.targets.clear()
    bench.offer(4)
    listening.append("")
    bench.offer(5)
    wait_for(lambda: len(bench.heard.results) == 2, "a result for who listens")
    assert [result.header.stamp for result in bench.heard.results] == [stamp_of(3), stamp_of(5)]
    bench.processed(6)
    assert bench.thread.stop(60)


def test_images_of_another_camera_are_not_used_for_a_target(bench):
    """Each with its own clock: the second camera's is late, which makes none of its images late."""

    def shown(number: int, side: int, frame_id: str, clock: int) -> list[str]:
        pixels = np.zeros((side, side, 3), np.uint8)
        count = len(bench.heard.results) + 1
        bench.thread.streams.offer("", image_message(pixels, "bgr8", stamp_of(number - clock), frame_id))
        bench.processed(count)
        return [target.target_id for target in bench.heard.results[-1].targets]

    shown(100, 32, "left", 0)
    bench.thread.init("", 0, BOX, "it")
    for number in range(101, 104):
        assert shown(number, 32, "left", 0) == ["it"]
        assert shown(number, 32, "right", 50) == []
    assert not bench.heard.jumps
    assert "of the frame_ids 'left', 'right' in turn" in bench.thread.reports()[""].mixed
    # by their size alone: one that is new may be the camera's own, until the old one returns
    shown(200, 48, "same", 0)
    bench.thread.init("", 0, BOX, "large")
    assert shown(201, 64, "same", 0) == ["large"]
    for number in range(202, 208, 2):
        assert shown(number, 48, "same", 0) == ["large"]
        assert shown(number + 1, 64, "same", 0) == []


def test_older_images_are_dropped_where_stamps_are_negative(bench):
    for second, count in ((-10, 1), (-9, 2), (-9.3, 2), (-8, 3)):
        message = image_message(np.zeros((32, 32, 3), np.uint8), "bgr8")
        message.header.stamp.sec = int(second // 1)
        message.header.stamp.nanosec = int(second % 1 * 1e9)
        bench.thread.streams.offer("", message)
        bench.processed(count)
    assert bench.thread.reports()[""].counts.dropped == 1
    assert not bench.heard.jumps


def test_requests_are_answered_while_a_frame_is_tracked(bench):
    started(bench)
    bench.hold(1)
    # each of these returns although the frame does not end
    assert bench.thread.reports()[""].counts.processed == 1
    bench.thread.enable(False)
    bench.thread.enable(True)
    bench.targets.remove("target_1")
    with pytest.raises(Refused, match="max_targets is 0"):
        bench.settings = replace(SETTINGS, max_targets=0)
        bench.thread.init("", 0, BOX, "")
    bench.settings = SETTINGS
    bench.tracker.go.set()
    bench.processed(2)
    # what was removed meanwhile is not published
    assert bench.heard.results[-1].targets == ()


def test_init_that_waits_too_long_is_told_so_and_starts_nothing(bench):
    started(bench)
    bench.hold(1)
    bench.settings = replace(SETTINGS, init_timeout=0.1)
    with pytest.raises(Refused, match=r"busy for 0\.1 s"):
        bench.thread.init("", 0, BOX, "late")
    bench.tracker.go.set()
    bench.processed(2)
    assert bench.thread.init("", 0, BOX, "next").target_id == "next"
    assert list(bench.targets.latest()) == ["target_1", "next"]


def test_init_is_on_the_image_that_was_newest_when_it_was_asked_for(bench):
    started(bench)
    bench.hold(1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bench.thread.init, "", 1000 * 10**9 + 33_333_340, BOX, "here")
        wait_for(lambda: answer.done() or bench.thread._requests, "the request to be queued")
        bench.offer(2)
        bench.tracker.go.set()
        assert answer.result(60).target_id == "here"


def test_stop_ends_a_waiting_init(bench):
    started(bench)
    bench.hold(1)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bench.thread.init, "", 0, BOX, "never")
        wait_for(lambda: answer.done() or bench.thread._requests, "the request to be queued")
        assert not bench.thread.stop(0.0)
        with pytest.raises(Refused, match="deactivated"):
            answer.result(60)
    assert "never" not in bench.targets.latest()


def test_disabled_thread_leaves_images_alone_and_counts_them(bench):
    started(bench)
    bench.thread.enable(False)
    for number in range(1, 4):
        bench.offer(number)
    bench.thread.enable(True)
    bench.offer(4)
    bench.processed(2)
    counts = bench.thread.reports()[""].counts
    assert (counts.received, counts.processed, counts.dropped) == (5, 2, 0)


def test_what_was_tracked_when_tracking_is_disabled_is_not_told(bench):
    started(bench)
    bench.hold(1)
    bench.thread.enable(False)
    bench.tracker.go.set()
    bench.processed(2)
    assert [result.header.stamp for result in bench.heard.results] == [stamp_of(0)]


def test_image_that_a_newer_one_overtook_is_dropped(bench):
    started(bench)
    bench.offer(4)
    bench.processed(2)
    bench.offer(3)
    bench.offer(5)
    bench.processed(3)
    counts = bench.thread.reports()[""].counts
    assert (counts.received, counts.processed, counts.dropped) == (4, 3, 1)
    assert [result.header.stamp for result in bench.heard.results] == [stamp_of(n) for n in (0, 4, 5)]


def test_image_that_was_tracked_while_the_counts_began_anew_is_in_none(bench):
    started(bench)
    bench.hold(1)
    assert bench.thread.reset() == 1
    bench.tracker.go.set()
    bench.offer(5)
    bench.processed(1)
    counts = bench.thread.reports()[""].counts
    assert (counts.received, counts.processed, counts.dropped) == (1, 1, 0)
    assert [result.header.stamp for result in bench.heard.results] == [stamp_of(0), stamp_of(5)]


def test_nobody_hears_of_a_frame_that_was_left_behind(bench):
    started(bench)
    wait_for(lambda: bench.thread.busy_for == 0, "the thread to have nothing to do")
    bench.hold(1)
    wait_for(lambda: bench.thread.busy_for > 0.01, "the thread to be busy")
    assert not bench.thread.stop(0.01)
    bench.offer(2)
    assert bench.thread.reports()[""].counts.received == 2, "no image is taken any more"
    bench.tracker.error = RuntimeError("too late")
    bench.tracker.go.set()
    assert bench.thread.stop(60)
    assert [result.header.stamp for result in bench.heard.results] == [stamp_of(0)]
    assert bench.heard.failures == bench.heard.rejections == []


def test_images_that_cannot_be_used_are_no_sign_of_life(bench):
    started(bench)
    before = bench.thread.reports()[""]
    bench.thread.streams.offer("", image_message(np.zeros((32, 32, 3), np.uint8), "nonsense", stamp_of(1)))
    assert bench.thread.reports()[""].last_usable == before.last_usable
    bench.tracker.error = ValueError("frame is 8 pixels wide")
    for number in (2, 3):
        bench.offer(number)
        wait_for(lambda n=number: bench.thread.reports()[""].counts.rejected == n, "a rejected frame")
    after = bench.thread.reports()[""]
    assert after.last_received > after.last_usable > before.last_usable, "the second, before it was looked into"
    bench.tracker.error = None
    bench.offer(4)
    bench.processed(2)
    assert bench.thread.reports()[""].last_usable > before.last_usable


def test_frame_that_fails_is_counted_and_the_next_one_tracked(bench):
    started(bench)
    for error in (ValueError("frame is 8 pixels wide"), RuntimeError("out of memory")):
        bench.tracker.error = error
        before = bench.thread.reports()[""].counts.rejected
        bench.offer(1)
        wait_for(lambda b=before: bench.thread.reports()[""].counts.rejected == b + 1, "a rejected frame")
    bench.tracker.error = None
    bench.offer(2)
    bench.processed(2)
    assert bench.heard.rejections == ["frame is 8 pixels wide"]
    assert [str(error) for error in bench.heard.failures] == ["out of memory"]


class CountingTracker(HeldTracker):
    """Writes down the first pixel of every frame that a target was followed through; that is the frame's number."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []  # frame, how many targets

    def init(self, frame, box):
        self._work()
        return ("started on", int(frame[0, 0, 0]))

    def update(self, frame, targets, budget=None):
        several = isinstance(targets, list)
        self.seen.append((int(frame[0, 0, 0]), len(targets) if several else 0))
        self._work()
        return [TRACK for _ in targets] if several else TRACK


class CatchUpBench(Bench):
    def __init__(self, **changed) -> None:
        super().__init__(replace(SETTINGS, **changed), CountingTracker(), ["", "down"])

    def offer(self, number: int, camera: str = "") -> None:
        frame = np.full((32, 32, 3), number, np.uint8)
        self.thread.streams.offer(camera, image_message(frame, "bgr8", stamp_of(number)))

    def film(self, numbers) -> None:
        """Offer frames, each when the one before is done."""
        for number in numbers:
            before = self.thread.reports()[""].counts.processed
            self.offer(number)
            self.processed(before + 1)


@pytest.fixture
def catching_up():
    made = []

    def start(**changed) -> CatchUpBench:
        made.append(CatchUpBench(**changed))
        return made[-1]

    yield start
    for bench in made:
        bench.tracker.go.set()
        assert bench.thread.stop(60)


def ns(number: int) -> int:
    stamp = stamp_of(number)
    return stamp.sec * 10**9 + stamp.nanosec


def test_target_started_on_an_earlier_image_is_followed_through_all_that_came_since(catching_up):
    bench = catching_up(catch_up_time=60.0)
    bench.film(range(1, 10))
    started = bench.thread.init("", ns(4), BOX, "it")
    assert (started.target_id, started.frames_caught_up, started.box) == ("it", 5, BOX)
    assert bench.targets.of_camera("")[0].target == ("started on", 4)
    assert bench.tracker.seen == [(number, 0) for number in range(5, 10)]
    assert bench.targets.latest()["it"] is not None
    bench.film([10])
    assert bench.tracker.seen[-1] == (10, 1)


def test_without_time_to_catch_up_only_the_newest_image_is_tracked_in(catching_up):
    bench = catching_up(catch_up_time=0.0)
    bench.film(range(1, 10))
    assert bench.thread.init("", ns(4), BOX, "it").frames_caught_up == 1
    assert bench.tracker.seen == [(9, 0)]


def test_stamp_that_is_not_remembered_is_refused_with_the_range_that_is(catching_up):
    bench = catching_up(buffer_bytes=3 * 32 * 32 * 3)
    bench.film(range(1, 10))
    for number in (6, 12):
        with pytest.raises(Refused) as refusal:
            bench.thread.init("", ns(number), BOX, "")
        for stamp in (number, 7, 9):
            assert f"{ns(stamp) // 10**9}.{ns(stamp) % 10**9:09d}" in str(refusal.value)
        assert "3 images" in str(refusal.value)
    assert bench.thread.init("", ns(7), BOX, "").frames_caught_up == 2


def test_images_are_tracked_in_while_a_target_catches_up(catching_up):
    """Live images and steps of catching up take turns, and the target joins where the others are."""
    bench = catching_up(catch_up_time=60.0)
    bench.film(range(1, 6))
    assert bench.thread.init("", 0, BOX, "live").target_id == "live"
    bench.film(range(6, 10))
    bench.tracker.seen.clear()
    with ThreadPoolExecutor(1) as pool:
        bench.tracker.go.clear()
        bench.tracker.at_work.clear()
        answer = pool.submit(bench.thread.init, "", ns(6), BOX, "late")
        assert bench.tracker.at_work.wait(60)  # it is being started, and here come three more
        for number in (10, 11, 12):
            bench.offer(number)
        bench.tracker.go.set()
        started = answer.result(60)
    bench.processed(10)
    # 12 came first, being live, for the one target; 10 and 11 were dropped for it, but not for the late one
    assert bench.tracker.seen[0] == (12, 1)
    late = [frame for frame, targets in bench.tracker.seen if targets == 0]
    assert late == [7, 8, 9, 10, 11, 12]
    assert started.frames_caught_up == 6
    bench.film([13])
    assert bench.tracker.seen[-1] == (13, 2)


def test_catching_up_ends_when_its_time_is_over_though_images_come_faster(catching_up):
    bench = catching_up(catch_up_time=0.15)
    bench.film(range(1, 30))
    done = threading.Event()

    def slow_camera_feed() -> None:
        number = 30
        while not done.is_set() and number < 255:
            bench.offer(number)
            number += 1
            done.wait(0.005)

    real_update = bench.tracker.update

    def slow_update(frame, targets, budget=None):
        done.wait(0.03)
        return real_update(frame, targets)

    bench.tracker.update = slow_update
    feeder = threading.Thread(target=slow_camera_feed)
    feeder.start()
    try:
        started = bench.thread.init("", ns(1), BOX, "it")
    finally:
        done.set()
        feeder.join()
    late = [frame for frame, targets in bench.tracker.seen if targets == 0]
    assert started.frames_caught_up == len(late) < 28
    assert late == sorted(late)
    assert max(late) >= 29


@pytest.mark.parametrize(
    "what, told",
    [
        (lambda bench: bench.thread.reset(), "reset"),
        (lambda bench: bench.thread.stop(0.0), "deactivated"),
        (lambda bench: bench.offer(1), "went back"),
    ],
    ids=["reset", "stop", "time goes back"],
)
def test_catching_up_is_ended_by(catching_up, what, told):
    bench = catching_up(catch_up_time=60.0, targets_on_time_jump="drop")
    bench.film(range(40, 50))
    real_update = bench.tracker.update
    caught = threading.Event()

    def update(frame, targets, budget=None):
        track = real_update(frame, targets)
        if not isinstance(targets, list) and not caught.is_set():
            caught.set()
            bench.tracker.go.clear()
        return track

    bench.tracker.update = update
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(bench.thread.init, "", ns(42), BOX, "never")
        assert caught.wait(60)
        what(bench)
        bench.tracker.go.set()
        with pytest.raises(Refused, match=told):
            answer.result(60)
    assert "never" not in bench.targets.latest()


def test_reset_while_a_target_is_being_started_leaves_none(bench):
    bench.offer(0)
    bench.processed(1)
    with ThreadPoolExecutor(1) as pool:
        bench.tracker.go.clear()
        answer = pool.submit(bench.thread.init, "", 0, BOX, "never")
        assert bench.tracker.at_work.wait(60)
        bench.thread.reset()
        bench.tracker.go.set()
        with pytest.raises(Refused, match="reset"):
            answer.result(60)
    bench.offer(1)
    bench.processed(1)
    assert bench.targets.latest() == {}


@pytest.mark.parametrize("what", ["keep", "drop"])
def test_when_time_goes_back_the_images_are_forgotten_and_the_targets_as_set(catching_up, what):
    bench = catching_up(targets_on_time_jump=what)
    bench.film(range(60, 65))
    bench.offer(60, "down")
    bench.thread.init("", 0, BOX, "here")
    bench.thread.init("down", 0, BOX, "there")
    bench.film([1])
    assert bench.heard.jumps == [("", pytest.approx((ns(64) - ns(1)) * 1e-9), ["here"] if what == "drop" else [])]
    assert list(bench.targets.latest()) == (["here", "there"] if what == "keep" else ["there"])
    with pytest.raises(Refused, match="1 images"):
        bench.thread.init("", ns(63), BOX, "")
    # images that only overtake each other, and those without a stamp, are no jump
    bench.film([3])
    bench.offer(2)
    bench.thread.streams.offer("", image_message(np.zeros((32, 32, 3), np.uint8), "bgr8"))
    bench.processed(8)
    assert len(bench.heard.jumps) == 1


def test_tracker_that_fails_on_every_image_is_given_up_and_told_once(bench):
    started(bench)
    bench.tracker.error = RuntimeError("no such kernel")
    for number in range(1, MOST_FAILURES + 1):
        assert bench.heard.ends == []
        before = bench.thread.reports()[""].counts.rejected
        bench.offer(number)
        wait_for(lambda b=before: bench.thread.reports()[""].counts.rejected == b + 1, "a rejected frame")
    wait_for(lambda: bench.heard.ends, "the end")
    assert [str(error) for error in bench.heard.ends] == ["no such kernel"]
    with pytest.raises(Refused):
        bench.thread.init("", 0, BOX, "")


def test_failing_requests_end_nothing(bench):
    started(bench)
    bench.tracker.error = RuntimeError("no such kernel")
    for _ in range(MOST_FAILURES + 1):
        with pytest.raises(RuntimeError, match="no such kernel"):
            bench.thread.init("", 0, BOX, "more")
    bench.tracker.error = None
    bench.offer(1)
    bench.processed(2)
    assert bench.heard.ends == []


def test_what_goes_wrong_around_a_frame_is_told_and_the_next_one_tracked(bench):
    started(bench)
    tracked = bench.heard.tracked

    def fail(result) -> None:
        raise KeyError("nobody listens")

    bench.heard.tracked = fail
    bench.offer(1)
    wait_for(lambda: bench.heard.failures, "the failure")
    bench.heard.tracked = tracked
    bench.offer(2)
    bench.processed(3)
    wait_for(lambda: bench.heard.results[-1].header.stamp == stamp_of(2), "the result")
    assert bench.heard.ends == []


class PassTracker(HeldTracker):
    """As if on a GPU. Writes down the numbers of the frames that go through the network together."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = torch.device(device)
        self.passes: list[list[int]] = []
        self.targets: list[object] = []  # of the last pass
        self.errors: dict[int, Exception] = {}  # by the number of a frame, or -1: of several together

    def update(self, frame, targets, budget=None):
        return self._pass([(frame, targets)])[0]

    def update_views(self, views, budget=None):
        assert len(views) > 1
        return self._pass(views)

    def _pass(self, views):
        numbers = [int(frame[0, 0, 0]) for frame, _ in views]
        self.passes.append(numbers)
        self.targets = [target for _, targets in views for target in targets]
        self._work()
        for number in numbers if len(numbers) == 1 else [*numbers, -1]:
            if number in self.errors:
                raise self.errors[number]
        return [[TRACK for _ in targets] for _, targets in views]


class Rig(Bench):
    """Three cameras: a target in the images of each but the last, and the thread at work on frame 10 of the first."""

    def __init__(self, device: str = "cuda") -> None:
        super().__init__(tracker=PassTracker(device), cameras=["front", "down", "rear"])
        for camera in ("front", "down"):
            self.offer(1, camera)
            self.thread.init(camera, 0, BOX, f"of {camera}")
        wait_for(lambda: self.counts("front").processed + self.counts("down").processed == 2, "the first frames")
        self.busy(10)
        self.tracker.passes.clear()

    def offer(self, number: int, camera: str = "front") -> None:
        frame = np.full((32, 32, 3), number, np.uint8)
        self.thread.streams.offer(camera, image_message(frame, "bgr8", stamp_of(number), camera))

    def busy(self, number: int) -> None:
        self.tracker.at_work.clear()
        self.tracker.go.clear()
        self.offer(number)
        assert self.tracker.at_work.wait(60)
        self.heard.results.clear()
        self.heard.stages.clear()

    def counts(self, camera: str):
        return self.thread.reports()[camera].counts

    def go(self) -> None:
        """Until nothing waits."""
        self.tracker.go.set()

        def done() -> bool:
            counts = [self.counts(camera) for camera in ("front", "down", "rear")]
            return all(c.received == c.processed + c.dropped + c.rejected for c in counts)

        wait_for(done, "all images")
        wait_for(lambda: self.thread.busy_for == 0, "the end of the last")

    @property
    def told(self):
        """Of each result the camera, the number of the frame and the targets."""
        results = self.heard.results
        assert all(one.header.frame_id == one.camera for one in results)
        numbers = {key(stamp_of(number)): number for number in range(100)}
        return [(one.camera, numbers[key(one.header.stamp)], [t.target_id for t in one.targets]) for one in results]


@pytest.fixture
def rigs():
    made = []

    def start(*device) -> Rig:
        made.append(Rig(*device))
        return made[-1]

    yield start
    for rig in made:
        rig.tracker.go.set()
        assert rig.thread.stop(60)


def test_newest_images_of_all_cameras_go_in_one_pass(rigs):
    rig = rigs()
    for number, camera in ((21, "down"), (31, "rear"), (11, "front"), (22, "down"), (12, "front")):
        rig.offer(number, camera)
    rig.go()
    assert rig.tracker.passes == [[12, 22]]  # without what nobody looks at
    first = ("front", 10, ["of front"])
    assert rig.told == [first, ("front", 12, ["of front"]), ("down", 22, ["of down"]), ("rear", 31, [])]
    assert [(c.processed, c.dropped) for c in map(rig.counts, ("front", "down", "rear"))] == [(3, 1), (2, 1), (1, 0)]
    assert [rig.heard.stages.count(stage) for stage in ("decode", "track", "publish")] == [2, 3, 4]
    rig.offer(13)
    rig.go()
    assert rig.tracker.passes[1:] == [[13]]
    assert rig.told[4:] == [("front", 13, ["of front"])]


def test_on_a_cpu_each_camera_has_its_turn(rigs):
    rig = rigs("cpu")
    rig.offer(11)
    rig.offer(21, "down")
    rig.go()
    assert rig.tracker.passes == [[21], [11]]
    assert [camera for camera, _, _ in rig.told] == ["front", "down", "front"]


def test_image_that_cannot_be_decoded_harms_no_other_of_its_pass(rigs):
    rig = rigs()
    jpeg = b"\xff\xd8" + b"\xff\xc0\x00\x0b\x08\x00\x40\x00\x40" + b"\xff\xd9"  # a header, and no more
    rig.thread.streams.offer("front", compressed_message(jpeg, "jpeg", stamp_of(11)))
    rig.offer(21, "down")
    rig.go()
    assert rig.tracker.passes == [[21]]
    assert rig.told[1:] == [("down", 21, ["of down"])]
    assert [rig.counts(camera).rejected for camera in ("front", "down")] == [1, 0]
    assert len(rig.heard.rejections) == 1
    assert rig.heard.failures == []


def test_image_that_the_tracker_refuses_harms_no_other_of_its_pass(rigs):
    rig = rigs()
    rig.tracker.errors[11] = ValueError("frame of no use")
    rig.offer(11)
    rig.offer(21, "down")
    rig.go()
    assert rig.tracker.passes == [[11, 21], [11], [21]]
    assert rig.told[1:] == [("down", 21, ["of down"])]
    assert [rig.counts(camera).rejected for camera in ("front", "down")] == [1, 0]
    assert (rig.heard.rejections, rig.heard.failures) == (["frame of no use"], [])
    rig.busy(12)
    rig.offer(13)
    rig.offer(23, "down")
    rig.go()
    assert rig.tracker.passes[3:] == [[12], [13, 23]]


def test_where_several_are_too_much_each_is_tracked_alone_from_then_on(rigs):
    rig = rigs()
    rig.tracker.errors[-1] = RuntimeError("out of memory")
    for number in (11, 12):
        rig.offer(number)
        rig.offer(number + 10, "down")
        rig.go()
        rig.busy(number + 40)
    rig.go()
    assert [numbers for numbers in rig.tracker.passes if max(numbers) < 50] == [[11, 21], [11], [21], [22], [12]]
    assert [rig.counts(camera).rejected for camera in ("front", "down")] == [0, 0]
    assert [str(error) for error in rig.heard.failures] == ["out of memory; from now on they are tracked one by one"]
    assert rig.heard.ends == []


def test_network_that_fails_counts_once_for_each_image(rigs, monkeypatch):
    def nothing(tracker):
        raise OSError("no weights any more")

    monkeypatch.setattr(recovery, "on_cpu", nothing)
    rig = rigs()
    rig.tracker.error = RuntimeError("no such kernel")
    rig.go()
    for number in range(11, 11 + MOST_FAILURES - 3):
        rig.offer(number)
        rig.go()
    rig.busy(20)  # the last but one to end it; one of those that follow is the last
    rig.offer(21)
    rig.offer(31, "down")
    assert rig.heard.ends == []
    rig.go()
    assert rig.tracker.passes[-3:] == [[21, 31], [21], [31]]
    assert [rig.counts(camera).rejected for camera in ("front", "down")] == [MOST_FAILURES, 1]
    assert [str(error) for error in rig.heard.ends] == ["no such kernel"]


def test_cpu_that_takes_over_tracks_what_is_left_of_a_pass(rigs, monkeypatch):
    spare = PassTracker("cpu")
    monkeypatch.setattr(recovery, "on_cpu", lambda tracker: spare)
    monkeypatch.setattr(recovery, "moved", lambda targets, tracker, newest: dict.fromkeys(targets, "moved"))
    rig = rigs()
    rig.tracker.errors[11] = RuntimeError("device lost")
    rig.offer(11)
    rig.offer(21, "down")
    rig.go()
    assert rig.tracker.passes == [[11, 21], [11]]
    assert spare.passes == [[21]]
    assert spare.targets == ["moved"]
    assert rig.told[1:] == [("down", 21, ["of down"])]
    assert [rig.counts(camera).rejected for camera in ("front", "down")] == [1, 0]
    assert rig.heard.fallbacks == [spare]


def test_cpu_that_has_taken_over_is_given_one_image_at_a_time(rigs, monkeypatch):
    spare = PassTracker("cpu")
    monkeypatch.setattr(recovery, "on_cpu", lambda tracker: spare)
    monkeypatch.setattr(recovery, "moved", lambda targets, tracker, newest: dict.fromkeys(targets, "moved"))
    rig = rigs()
    rig.tracker.error = RuntimeError("device lost")
    rig.go()
    rig.tracker = spare
    rig.busy(11)
    rig.offer(12)
    rig.offer(21, "down")
    rig.go()
    assert spare.passes == [[11], [21], [12]]


def test_what_goes_wrong_around_one_image_of_a_pass_is_told_and_the_others_come_out(rigs):
    rig = rigs()
    tracked = rig.heard.tracked

    def fail_for_front(result) -> None:
        if result.camera == "front":
            raise KeyError("nobody listens")
        tracked(result)

    rig.heard.tracked = fail_for_front
    rig.offer(11)
    rig.offer(21, "down")
    rig.go()
    assert rig.tracker.passes == [[11, 21]]
    assert rig.told == [("down", 21, ["of down"])]
    assert [type(error) for error in rig.heard.failures] == [KeyError, KeyError]


@pytest.mark.parametrize(
    "what, told, processed",
    [
        (lambda rig: rig.targets.remove("of down"), [("front", 11, ["of front"]), ("down", 21, [])], [3, 2]),
        (lambda rig: rig.thread.enable(False), [], [3, 2]),
        (lambda rig: rig.thread.reset(), [], [0, 0]),
    ],
    ids=["removal", "disabling", "reset"],
)
def test_pass_is_at_work_during(rigs, what, told, processed):
    rig = rigs()
    real_update = rig.tracker.update_views

    def update_views(views, budget=None):
        what(rig)
        return real_update(views)

    rig.tracker.update_views = update_views
    rig.offer(11)
    rig.offer(21, "down")
    rig.go()
    assert rig.tracker.passes == [[11, 21]]
    assert rig.told[1:] == told
    assert [rig.counts(camera).processed for camera in ("front", "down")] == processed
