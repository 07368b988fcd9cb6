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
from ros_harness import image_message, stamp_of, wait_for

from snscf_core import Track, TrackState
from snscf_ros import parameters
from snscf_ros.targets import Refused, Targets
from snscf_ros.tracking import TrackingThread

BOX = (4.0, 4.0, 20.0, 20.0)
SETTINGS = parameters.settings_of({**parameters.default_values(), "init_timeout": 30.0})


class HeldTracker:
    """Every init and update waits until it is let go."""

    def __init__(self) -> None:
        self.go, self.at_work = threading.Event(), threading.Event()
        self.go.set()
        self.error: Exception | None = None
        self.device = torch.device("cpu")

    def _work(self) -> None:
        self.at_work.set()
        assert self.go.wait(60)
        self.at_work.clear()
        if self.error is not None:
            raise self.error

    def init(self, frame, box):
        self._work()
        return object()

    def update(self, frame, targets):
        self._work()
        return [Track(box=BOX, score=1.0, state=TrackState.TRACKED, peak_quality=9.0) for _ in targets]


class Heard:
    """A listener that writes down what it hears."""

    def __init__(self) -> None:
        self.results, self.rejections, self.failures = [], [], []

    def wants_pixels(self) -> bool:
        return False

    def tracked(self, result) -> None:
        self.results.append(result)

    def rejected(self, camera, reason) -> None:
        self.rejections.append(reason)

    def failed(self, camera, error) -> None:
        self.failures.append(error)

    def took(self, stage, seconds) -> None:
        assert seconds >= 0


class Bench:
    def __init__(self, settings=SETTINGS) -> None:
        self.tracker, self.heard, self.targets, self.settings = HeldTracker(), Heard(), Targets(), settings
        self.thread = TrackingThread(self.tracker, [""], self.targets, lambda: self.settings, self.heard)
        self.thread.start()

    def offer(self, number: int) -> None:
        self.thread.offer("", image_message(np.zeros((32, 32, 3), np.uint8), "bgr8", stamp_of(number)))

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
