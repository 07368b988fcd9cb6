# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""When the device fails the CPU takes over, once, with the targets. The device is made up, the trackers are real."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ros_harness import Scene, image_message, iou, stamp_of, wait_for

from snscf_core import Target, Tracker
from snscf_ros import bringup
from snscf_ros.node import events, parameters
from snscf_ros.node.tracking_worker import TrackingWorker
from snscf_ros.target_registry import TargetRegistry

SETTINGS = replace(parameters.settings_of(bringup.default_parameters()), init_timeout=60.0)


class OnFailingDevice:
    """A tracker as if it ran on a GPU, which fails when told to."""

    def __init__(self, real: Tracker) -> None:
        self._real, self.mode, self.weights, self.config = real, real.mode, real.weights, real.config
        self.device, self.engine = torch.device("cuda"), "cuda_graphs"
        self.error: Exception | None = None

    def init(self, frame, box):
        if self.error is not None:
            raise self.error
        return self._real.init(frame, box)

    def update(self, frame, targets, budget=None):
        if self.error is not None:
            raise self.error
        return self._real.update(frame, targets, budget=budget)


class Heard:
    def __init__(self) -> None:
        self.results, self.failures, self.fallbacks, self.ends = [], [], [], []

    def on_event(self, event) -> None:
        match event:
            case events.TrackedFrame():
                self.results.append(event)
            case events.TrackingFailed(_, error):
                self.failures.append(str(error))
            case events.FellBack(tracker, error, dropped):
                self.fallbacks.append((tracker, str(error), dropped))
            case events.GaveUp(error):
                self.ends.append(error)


class Bench:
    def __init__(self, tracker: Tracker) -> None:
        self.scene, self.number = Scene(), 0
        self.tracker, self.heard, self.targets = OnFailingDevice(tracker), Heard(), TargetRegistry()
        self.thread = TrackingWorker(self.tracker, [""], self.targets, lambda: SETTINGS, self.heard.on_event)
        self.thread.start()

    def next(self):
        """The targets in the next frame; None if it could not be tracked in."""
        before = self.thread.reports()[""].counts
        self.thread.streams.offer("", image_message(self.scene.frame(self.number), "bgr8", stamp_of(self.number)))
        self.number += 1
        done = lambda c: c.processed + c.rejected > before.processed + before.rejected  # noqa: E731
        counts = wait_for(lambda: (c := self.thread.reports()[""].counts) and done(c) and c, "the frame")
        if counts.rejected > before.rejected:
            return None
        wait_for(lambda: len(self.heard.results) == counts.processed, "the result")
        return self.heard.results[-1].targets

    @property
    def truth(self):
        return self.scene.box(self.number - 1)


@pytest.fixture(scope="module")
def real(weights) -> Tracker:
    return Tracker(device="cpu")


@pytest.fixture
def bench(real):
    made = Bench(real)
    made.next()
    made.thread.init("", 0, made.truth, "it")
    made.next()
    yield made
    assert made.thread.stop(60)


@pytest.mark.slow
def test_without_memory_the_cpu_goes_on_where_the_device_was(bench, tmp_path):
    bench.targets.of_camera("")[0].target.save(tmp_path / "before")
    bench.tracker.error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB")
    assert bench.next() is None
    ((tracker, error, dropped),) = wait_for(lambda: bench.heard.fallbacks, "the CPU")
    assert (tracker.device.type, tracker.mode, dropped) == ("cpu", bench.tracker.mode, [])
    assert "out of memory" in error
    # all that was learnt on the device has come along
    bench.targets.of_camera("")[0].target.save(tmp_path / "after")
    assert (tmp_path / "after").read_bytes() == (tmp_path / "before").read_bytes()
    for _ in range(5):
        (target,) = bench.next()
        assert target.target_id == "it"
        assert iou(target.track.box, bench.truth) > 0.6
    assert bench.heard.ends == []


@pytest.mark.slow
def test_lost_device_takes_what_it_held_with_it_and_targets_are_started_anew(bench, monkeypatch):
    def unreadable(self, path):
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(Target, "save", unreadable)
    bench.tracker.error = RuntimeError("CUDA error: unspecified launch failure")
    assert bench.next() is None
    ((_, _, dropped),) = wait_for(lambda: bench.heard.fallbacks, "the CPU")
    assert dropped == []
    for _ in range(5):
        (target,) = bench.next()
        assert iou(target.track.box, bench.truth) > 0.6


def test_request_that_finds_the_device_failed_is_answered_by_the_cpu(bench):
    bench.tracker.error = torch.cuda.OutOfMemoryError("CUDA out of memory")
    assert bench.thread.init("", 0, bench.truth, "more").target_id == "more"
    assert len(bench.heard.fallbacks) == 1
    assert [target.target_id for target in bench.next()] == ["it", "more"]


def test_cpu_that_cannot_take_over_ends_it(bench, monkeypatch):
    from snscf_ros.node import recovery

    def nothing(tracker):
        raise OSError("no weights any more")

    monkeypatch.setattr(recovery, "on_cpu", nothing)
    bench.tracker.error = RuntimeError("CUDA error: device lost")
    for _ in range(5):
        assert bench.next() is None
    wait_for(lambda: bench.heard.ends, "the end")
    assert bench.heard.fallbacks == []
    assert "no weights any more" in bench.heard.failures
