# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Watches over the tracking: logs what the worker reports, notices silent cameras, and publishes the diagnostics."""

from __future__ import annotations

import dataclasses
import enum
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import GetState
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

from snscf_core import Tracker
from snscf_ros import topic_graph
from snscf_ros.node import diagnostics, rclpy_private
from snscf_ros.node.bearings import Bearings
from snscf_ros.node.camera_stream import CameraReport
from snscf_ros.node.cameras import phrase
from snscf_ros.node.events import Event, FellBack, GaveUp, ImageRefused, StageTimed, TimeWentBack, TrackingFailed
from snscf_ros.node.parameters import Settings
from snscf_ros.node.publishers import Publishers
from snscf_ros.node.tracking_worker import MOST_FAILURES, TrackingWorker
from snscf_ros.target_registry import TargetRegistry

_HANGING = 5.0  # s; a frame that takes longer than this and than camera_timeout is reported as hanging
_WATCH_PERIOD = 0.5  # s; each look costs about a millisecond
_ASK_GRAPH = 1.0  # s
_REPEAT = 1.0  # s; between two messages that a camera is still silent


class Change(enum.Enum):
    """A change of a camera's silence that is worth a message."""

    FELL_SILENT = enum.auto()
    STILL_SILENT = enum.auto()
    RETURNED = enum.auto()


class Silences:
    """Remembers for each camera whether its silence has been reported, and when last."""

    def __init__(self) -> None:
        self._reported: dict[str, float] = {}

    def observe(self, camera: str, silent_for: float, timeout: float) -> Change | None:
        """Return what has changed, `silent_for` seconds after a camera's last image; None if nothing has."""
        reported = self._reported.get(camera)
        if silent_for <= timeout:
            return None if self._reported.pop(camera, None) is None else Change.RETURNED
        if reported is None:
            self._reported[camera] = silent_for
            return Change.FELL_SILENT
        if silent_for - reported >= _REPEAT:
            self._reported[camera] = silent_for
            return Change.STILL_SILENT
        return None


class Problems:
    """Collects what is wrong with how each camera is read, and remembers what has been reported.

    mixed: that images of several cameras come, by camera; empty if they do not.
    shared: that several publishers share its topic.
    silent: why no image comes, as far as the graph tells.
    """

    def __init__(self) -> None:
        self.mixed: dict[str, str] = {}
        self.shared: dict[str, str] = {}
        self.silent: dict[str, str] = {}
        self._reported: dict[str, str] = {}

    def of(self, camera: str) -> str:
        """Return the most important problem of a camera. An empty text stands for no problem."""
        return self.silent.get(camera) or self.mixed.get(camera) or self.shared.get(camera, "")

    def found_silent(self, camera: str, why: str) -> None:
        """Note why a camera is silent, which the caller reports."""
        self.silent[camera] = self._reported[camera] = why

    def news(self, camera: str) -> str | None:
        """Return the problem if it has not been reported yet, or an empty text if it is gone; None for no news."""
        problem = self.of(camera)
        if problem == self._reported.get(camera, ""):
            return None
        self._reported[camera] = problem
        return problem


@dataclass(frozen=True)
class Running:
    """What the node has at the moment; None where its state has none."""

    tracker: Tracker | None
    worker: TrackingWorker | None
    publishers: Publishers | None
    subscriptions: Mapping[str, Subscription]  # to the images, by camera


class HealthMonitor:
    """Reports how a node fares: in its log, in the status of silent cameras, and on /diagnostics."""

    def __init__(
        self,
        node: LifecycleNode,
        settings: Callable[[], Settings],
        targets: Callable[[], TargetRegistry],
        bearings: Bearings,
        running: Callable[[], Running],
        restarts: int,
    ) -> None:
        """Start the timers.

        targets: gives the current targets; a worker that was left behind keeps the old ones.
        running: gives what the node has at the moment.
        restarts: how often the process has been started again.
        """
        self._node = node
        self._settings = settings
        self._targets = targets
        self._bearings = bearings
        self._running = running
        self._restarts = restarts
        self._targets_lost = restarts > 0  # with the process before, and none has been started since
        self._activated = 0.0  # monotonic seconds
        self._broken = ""  # why the tracker has given up
        self._silences = Silences()
        self._problems = Problems()
        self._name_taken = ""  # by another node, too
        self._asked_graph = 0.0  # monotonic seconds
        self._stages = diagnostics.Stages()
        self._get_state = rclpy_private.service(node, GetState)
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=5))
        # simulated time may stand still; whether the node is well must be reported all the same
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(
            1.0 / settings().diagnostics_rate,
            self._publish_diagnostics,
            callback_group=MutuallyExclusiveCallbackGroup(),
            clock=steady,
        )
        # in the node's own group, like the services of the transitions, because it may ask for one
        node.create_timer(_WATCH_PERIOD, self._watch, clock=steady)

    def activated(self) -> None:
        """Forget what was measured and noticed before the node was activated."""
        self._stages.take()
        self._broken = ""
        self._silences = Silences()
        self._problems = Problems()
        self._activated = time.monotonic()

    @property
    def state(self) -> str:
        """Return the node's lifecycle state."""
        # asked like any client asks, because rclpy has no public name for the state itself
        return str(self._get_state.callback(GetState.Request(), GetState.Response()).current_state.label)

    def problem(self, camera: str) -> str:
        """Return what is wrong with how a camera is read; empty if nothing is known to be."""
        return "; ".join(filter(None, (self._problems.of(camera), self._name_taken)))

    def target_started(self) -> None:
        """Note that a target has been started since the process was started again."""
        self._targets_lost = False

    def set_rate(self, rate: float) -> None:
        """Publish the diagnostics that often a second from now on."""
        self._timer.timer_period_ns = int(1e9 / rate)

    def on_event(self, event: Event) -> None:
        """Log an event, and remember it where the diagnostics need it."""
        logger = self._node.get_logger()
        match event:
            case StageTimed(stage, seconds):
                self._stages.add(stage, seconds)
            case ImageRefused(camera, reason):
                logger.warning(f"image of {phrase(camera)} rejected: {reason}", throttle_duration_sec=2.0)
            case TrackingFailed(camera, error):
                trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
                logger.error(f"image of {phrase(camera)} could not be tracked:\n{trace}", throttle_duration_sec=10.0)
            case FellBack(_, error, dropped):
                lost = f"; these targets are lost: {', '.join(dropped)}" if dropped else ""
                logger.error(
                    f"the device failed ({_first_line(error)}): the CPU takes over until the node is configured"
                    f" again{lost}"
                )
            case GaveUp(error):
                self._broken = f"the tracker failed on {MOST_FAILURES} images in a row: {_first_line(error)}"
            case TimeWentBack(camera, seconds, dropped):
                kept = f"forgot {', '.join(dropped)}" if dropped else "targets are kept"
                logger.warning(
                    f"the stamps of {phrase(camera)} went back by {seconds:.3f} s: forgot its images; {kept}",
                    throttle_duration_sec=1.0,
                )

    def _watch(self) -> None:
        """Deactivate a node whose tracker has given up, and report silent cameras and a tracker that hangs."""
        running = self._running()
        worker, publishers = running.worker, running.publishers
        if self._broken and worker is not None:
            self._node.get_logger().fatal(f"{self._broken}; deactivating. Activate the node to try again")
            self._node.trigger_deactivate()
            return
        if worker is None or publishers is None or not worker.enabled:
            return
        hangs, reports = self._hangs_for(worker), worker.reports()
        if time.monotonic() - self._asked_graph >= _ASK_GRAPH:
            self._asked_graph = time.monotonic()
            self._watch_graph(running.subscriptions, reports)
        for camera, report in reports.items():
            self._problems.mixed[camera] = report.mixed
            self._watch_camera(running, camera, report, hangs)
            self._report_problem(camera)

    def _watch_graph(self, subscriptions: Mapping[str, Subscription], reports: Mapping[str, CameraReport]) -> None:
        """Look for topics that are shared, and for the reason of a silence."""
        taken = topic_graph.several_nodes(self._node)
        if taken and not self._name_taken:
            self._node.get_logger().warning(taken)
        self._name_taken = taken
        timeout = self._settings().camera_timeout
        for camera, subscription in subscriptions.items():
            self._problems.shared[camera] = topic_graph.several_publishers(self._node, subscription.topic_name)
            silent_for = time.monotonic() - max(self._activated, reports[camera].last_received or 0.0)
            reason = topic_graph.why_silent(self._node, subscription) if silent_for > timeout else ""
            self._problems.silent[camera] = reason

    def _report_problem(self, camera: str) -> None:
        if (news := self._problems.news(camera)) is None:
            return
        if news:
            self._node.get_logger().warning(f"{phrase(camera)}: {news}")
        else:
            self._node.get_logger().info(f"{phrase(camera)}: its topic is as it should be again")

    def _watch_camera(self, running: Running, camera: str, report: CameraReport, hangs: float) -> None:
        now, timeout = time.monotonic(), self._settings().camera_timeout
        publishers = running.publishers
        assert publishers is not None
        silent_for = now - max(self._activated, report.last_usable or 0.0)
        match self._silences.observe(camera, max(silent_for, hangs), timeout):
            case Change.FELL_SILENT:
                if hangs:
                    reason = f"the tracker has been busy with one image for {hangs:.1f} s"
                elif now - (report.last_received or 0.0) > timeout:
                    why = topic_graph.why_silent(self._node, running.subscriptions[camera])
                    self._problems.found_silent(camera, why)
                    reason = f"no image from {phrase(camera)} for {silent_for:.1f} s: {why}"
                else:
                    reason = f"no image from {phrase(camera)} could be used for {silent_for:.1f} s"
                self._node.get_logger().warning(reason)
                self._publish_silence(publishers, camera, report)
            case Change.STILL_SILENT:
                self._publish_silence(publishers, camera, report)
            case Change.RETURNED:
                self._node.get_logger().info(f"images from {phrase(camera)} arrive again")

    def _publish_silence(self, publishers: Publishers, camera: str, report: CameraReport) -> None:
        try:
            followed = self._targets().latest().keys()
            publishers.publish_silence(camera, report, followed, self.problem(camera))
        except Exception as error:  # RCLError
            if self._node.context.ok():
                self._node.get_logger().warning(f"could not publish: {error}", throttle_duration_sec=5.0)

    def _hangs_for(self, worker: TrackingWorker | None) -> float:
        """Return the seconds that the worker has been busy with one image if that is too long, else 0."""
        busy = 0.0 if worker is None else worker.busy_for
        return busy if busy > max(_HANGING, self._settings().camera_timeout) else 0.0

    def _publish_diagnostics(self) -> None:
        array = diagnostics.report(
            self._health(), self._settings().camera_timeout, self._node.get_clock().now().to_msg()
        )
        try:
            self._publisher.publish(array)
        except Exception as error:  # RCLError
            if self._node.context.ok():
                self._node.get_logger().warning(f"could not publish diagnostics: {error}", throttle_duration_sec=5.0)

    def _health(self) -> diagnostics.Health:
        now, running = time.monotonic(), self._running()
        tracker, worker = running.tracker, running.worker
        hangs = self._hangs_for(worker)
        details = ("model", "mode", "device", "engine") if tracker is not None else ()
        reports = {} if worker is None else worker.reports()
        return diagnostics.Health(
            node=self._node.get_fully_qualified_name(),
            state=self.state,
            name_taken=self._name_taken,
            enabled=worker is not None and worker.enabled,
            tracker={name: str(getattr(tracker, name)) for name in details},
            stages=self._stages.take(),
            cameras={
                name: diagnostics.CameraHealth(
                    report.counts,
                    now - max(self._activated, report.last_received or 0.0),
                    now - max(self._activated, report.last_usable or 0.0),
                    self._bearings.state(name),
                    self._problems.of(name),
                )
                for name, report in reports.items()
            },
            targets=self._targets().latest(),
            restarts=self._restarts,
            targets_lost=self._targets_lost,
            deferred=dataclasses.asdict(tracker.deferred) if tracker and self._settings().max_latency else {},
            broken=f"busy with one image for {hangs:.1f} s" if hangs else self._broken,
        )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
