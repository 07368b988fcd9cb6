# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The lifecycle node: makes its parts in each transition and connects them.

Images go from `cameras` to `camera_stream`, from there to the `tracking_worker`, and its results to `publishers`.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
import traceback
from collections.abc import Callable

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.service import Service
from rclpy.subscription import Subscription

from snscf_core import Tracker, WeightsError
from snscf_core.malloc import return_memory
from snscf_core.online.tuning import tuned_config
from snscf_ros import bringup, middleware, supervision
from snscf_ros.cv_bridge_decoder import find_bridge
from snscf_ros.node import cameras, parameters, rclpy_private, rclpy_workarounds
from snscf_ros.node.bearings import Bearings
from snscf_ros.node.camera_stream import Demand
from snscf_ros.node.events import Event, FellBack, TrackedFrame
from snscf_ros.node.health import HealthMonitor, Running
from snscf_ros.node.intake.recent_images import ReceivedImage
from snscf_ros.node.parameters import Parameters, Settings
from snscf_ros.node.position.camera_turns import CameraTurns
from snscf_ros.node.position.inputs import depth_topic
from snscf_ros.node.position.positions import Positions
from snscf_ros.node.publishers import Publishers
from snscf_ros.node.services import TargetServices
from snscf_ros.node.start_requests import StartRequests
from snscf_ros.node.start_topics import StartTopics
from snscf_ros.node.stream_reader import StreamReader
from snscf_ros.node.tracking_worker import TrackingWorker
from snscf_ros.target_registry import FollowedTarget, TargetRegistry

_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE
_Transition = Callable[["TrackerNode", LifecycleState], TransitionCallbackReturn]

# s; many targets on a slow CPU take long, but a worker that takes longer than this is given up
_LONGEST_FRAME = 60.0


def _transition(callback: _Transition) -> _Transition:
    """Run one transition at a time. Log what it raises, which rclpy does not, and let it fail then."""

    @functools.wraps(callback)
    def guarded(self: TrackerNode, state: LifecycleState) -> TransitionCallbackReturn:
        with self._transition:
            self._driven = True
            try:
                return callback(self, state)
            except Exception:
                name = callback.__name__.removeprefix("on_")
                self._refuse(f"{name} failed:\n{traceback.format_exc()}")
                self._stop()
                return _FAILURE

    return guarded


class NotBroughtUp(RuntimeError):
    """The node could not configure or activate itself, as `autostart_node` asks."""


class TrackerNode(LifecycleNode):
    """Follows targets in the images of one or more cameras.

    docs/ros_interface.md describes its topics, services and parameters.
    """

    def __init__(self) -> None:
        super().__init__(bringup.NODE_NAME)
        rclpy_private.check(self)
        self._transition = threading.Lock()
        self._tracker: Tracker | None = None
        self._targets = TargetRegistry()
        self._result_publishers: Publishers | None = None
        self._positions: Positions | None = None
        self._turns: CameraTurns | None = None
        self._worker: TrackingWorker | None = None
        self._reader: StreamReader | None = None
        self._image_subscriptions: dict[str, Subscription] = {}  # by camera
        self._info_subscriptions: list[Subscription] = []
        self._refusal = ""  # why the last transition failed
        self._driven = False  # somebody has asked for a transition
        self._restarts = supervision.restarts()
        self._left_behind = False  # a worker that could not be ended still uses the tracker and the targets
        try:
            self._declared = Parameters(
                self, lambda: self._tracker is not None or self._transition.locked(), self._parameters_changed
            )
        except ParameterException:
            self.destroy_node()  # its shared memory would stay behind
            raise
        self._bearings = Bearings(lambda: self.settings, lambda text: self.get_logger().warning(text))
        rclpy_workarounds.answer_illegal_transitions(self)
        rclpy_workarounds.answer_malformed_parameters(self)
        self._health = HealthMonitor(
            self,
            lambda: self.settings,
            lambda: self._targets,
            self._bearings,
            lambda: Running(self._tracker, self._worker, self._result_publishers, self._image_subscriptions),
            self._restarts,
        )
        try:
            depths = map(depth_topic, self.settings.cameras) if self.settings.use_depth else ()
            cameras.check(self, self.settings.cameras, self.settings.image_transport, tuple(depths))
        except cameras.SettingRefused:
            self.destroy_node()  # its shared memory would stay behind
            raise
        # what waits for the tracking worker has a group of its own, and so keeps nobody else waiting
        self._waiting = MutuallyExclusiveCallbackGroup()
        starts = StartRequests(self, lambda: self._worker, lambda: self._health.state, self._health.target_started)
        self._target_services = TargetServices(self, lambda: self._targets, lambda: self._worker, starts, self._waiting)
        if self.settings.init_topics:
            self._start_topics = StartTopics(
                self, self.settings.cameras, lambda: self._targets, lambda: self.settings, starts, self._waiting
            )
        for text in parameters.unknown(rclpy_private.parameter_overrides(self)):
            self.get_logger().warning(text)
        if self._restarts:
            self.get_logger().warning(
                f"started again (restart {self._restarts}): the targets of before are lost; call init_target"
            )
        # in the node's own group, like the services of the transitions, because it asks for transitions
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._bring_up_timer = self.create_timer(0.0, self._bring_up, clock=steady)

    @property
    def settings(self) -> Settings:
        return self._declared.settings

    def waits(self, entity: object) -> bool:
        """Tell the executor whether a callback may take long.

        These are init_target and its topics, the start by itself, and the node's own services, transitions among them,
        which share a group that keeps them apart.
        """
        if entity is self._bring_up_timer:
            return True
        if not isinstance(entity, Service | Subscription):
            return False
        own = isinstance(entity, Service) and entity.callback_group is self.default_callback_group
        return own or entity.callback_group is self._waiting

    def on_event(self, event: Event) -> None:
        """React to what the tracking worker reports, in its thread or in that of a subscription."""
        if isinstance(event, TrackedFrame):
            self._publish(event)
            return
        if isinstance(event, FellBack):
            self._tracker = event.tracker
        self._health.on_event(event)

    def _publish(self, result: TrackedFrame) -> None:
        if self._result_publishers is None:
            return
        try:
            shown = result
            if self.settings.clip_boxes and result.frame is not None:
                height, width = result.frame.shape[:2]
                targets = tuple(target.clipped(width, height) for target in result.targets)
                shown = dataclasses.replace(result, targets=targets)
            problem = self._health.problem(result.camera)
            self._result_publishers.publish(shown, self._bearings.of(shown), problem)
            if self._positions is not None:
                self._positions.tracked(result.camera, result.header, result.size, result.received, result.targets)
        except Exception as error:  # Fast DDS may refuse a message it has no room for; RCLError
            if self.context.ok():
                self.get_logger().warning(f"could not publish: {error}", throttle_duration_sec=5.0)

    def _carry(self, image: ReceivedImage, followed: list[FollowedTarget]) -> None:
        if self._turns is not None and self.settings.compensate_turns:
            self._turns.carry(image.camera, image.header.frame_id, image.stamp_ns, followed)

    def _parameters_changed(self, settings: Settings) -> None:
        self._health.set_rate(settings.diagnostics_rate)
        if self._positions is not None and self._worker is not None:
            self._positions.set_rate(settings.prediction_rate)

    # --- life cycle ---

    def _bring_up(self) -> None:
        """Configure and activate, if `autostart_node` says so and nobody else has begun to.

        Raises NotBroughtUp, which ends the process.
        """
        self._bring_up_timer.cancel()
        if not self.settings.autostart_node or self._driven:
            return
        for name, trigger in (("configure", self.trigger_configure), ("activate", self.trigger_activate)):
            if trigger() != _SUCCESS:
                raise NotBroughtUp(f"could not {name}: {self._refusal}")

    def _refuse(self, reason: str) -> None:
        """Log why a transition fails, and remember it."""
        self.get_logger().error(reason)
        self._refusal = reason.strip().splitlines()[-1]

    @_transition
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        settings = self.settings
        started = time.monotonic()
        try:
            tracker = Tracker(
                settings.model,
                device=settings.device,
                mode=settings.mode,
                engine=settings.engine,
                config=tuned_config(
                    settings.model,
                    search_size=settings.search_size,
                    coast=settings.coast_frames,
                    search_places=settings.search_places,
                    search_interval=settings.search_interval,
                ),
            )
            tracker.warm_up()
            return_memory()
        except (WeightsError, ValueError, FileNotFoundError) as error:
            self._refuse(str(error))
            return _FAILURE
        find_bridge()
        self._result_publishers = Publishers(self, settings.cameras, lambda: self.settings, self._restarts)
        self._positions = Positions(self, settings.cameras, lambda: self.settings, self._bearings.calibration)
        self._tracker = tracker
        self.get_logger().info(
            f"loaded {tracker.model} in {time.monotonic() - started:.1f} s:"
            f" mode {tracker.mode}, device {tracker.device}, engine {tracker.engine},"
            f" search crops of {settings.search_size} pixels"
        )
        return super().on_configure(state)

    @_transition
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        assert self._tracker is not None
        if self._left_behind:
            self._refuse("the tracker still hangs in an earlier image; clean up and configure it anew")
            return _FAILURE
        try:
            result = super().on_activate(state)
            self._begin(self._tracker)
            self._warn_of_lost_images()
            return result
        except Exception:
            self._stop()
            super().on_deactivate(state)  # the publishers were on already
            raise

    def _begin(self, tracker: Tracker) -> None:
        """Start the worker and subscribe to the cameras."""
        settings = self.settings
        self._health.activated()
        publishers, positions = self._result_publishers, self._positions
        assert publishers is not None and positions is not None
        self._turns = CameraTurns(positions.transforms, settings.position_frame, self._bearings.calibration)
        self._worker = TrackingWorker(
            tracker,
            settings.cameras,
            self._targets,
            lambda: self.settings,
            self.on_event,
            Demand(lambda camera: publishers.wanted(camera) or positions.wanted(), publishers.wants_overlay),
            self._carry,
        )
        self._worker.start()
        self._reader = reader = StreamReader(self)
        streams, transport = self._worker.streams, settings.image_transport
        for camera in settings.cameras:
            image = cameras.subscribe(self, camera, transport, streams.offer, streams.refuse, reader)
            self._image_subscriptions[camera] = image
            info = cameras.subscribe_info(self, camera, image.topic_name, self._bearings.received, reader)
            self._info_subscriptions.append(info)
        positions.activate()
        topics = ", ".join(image.topic_name for image in self._image_subscriptions.values())
        self.get_logger().info(f"active: reading {topics}")

    def _warn_of_lost_images(self) -> None:
        """Warn where images are likely to stay away: a remapping that has no effect, or too little shared memory."""
        settings = self.settings
        unnamed = cameras.topic("", settings.image_transport)
        remapped = any(cameras.is_remapped(self, name) for name in (unnamed, bringup.IMAGE_TOPIC))
        if "" not in settings.cameras and remapped:
            named = cameras.topic(settings.cameras[0], settings.image_transport)
            self.get_logger().warning(
                f"'{unnamed}' is remapped (image_topic of the launch file), but the cameras have names:"
                f" remap '{named}' and the like instead"
            )
        advice = middleware.advice(bringup.profile_file(), rclpy.get_rmw_implementation_identifier())
        if advice is not None and settings.image_transport == "raw":
            self.get_logger().warning(advice)

    @_transition
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        return super().on_deactivate(state)

    @_transition
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._free()
        return super().on_cleanup(state)

    @_transition
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._free()
        return super().on_shutdown(state)

    @_transition
    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._stop()
        self._free()
        return super().on_error(state)

    def close(self, timeout: float) -> bool:
        """Stop for good, before the process ends. Return False if a transition or a frame takes longer than that."""
        deadline = time.monotonic() + timeout
        if not self._transition.acquire(timeout=timeout):
            return False
        return self._worker is None or self._worker.stop(max(0.0, deadline - time.monotonic()))

    def destroy_node(self) -> None:
        """Destroy the node and its state machine, which rclpy forgets."""
        if self._reader is not None:
            self._reader.stop()
        super().destroy_node()
        rclpy_private.destroy_state_machine(self)

    def _stop(self) -> None:
        if self._reader is not None:
            self._reader.stop()
        for subscription in (*self._image_subscriptions.values(), *self._info_subscriptions):
            self.destroy_subscription(subscription)
        self._image_subscriptions, self._info_subscriptions = {}, []
        worker, self._worker = self._worker, None
        if worker is not None and not worker.stop(_LONGEST_FRAME):
            self._left_behind = True
            self.get_logger().error(f"the current frame is not done after {_LONGEST_FRAME:.0f} s; left behind")
        if self._positions is not None:
            self._positions.deactivate()

    def _free(self) -> None:
        if self._left_behind:
            self._targets = TargetRegistry()  # the worker that was left behind may still change the old one
            self._left_behind = False
        if self._result_publishers is not None:
            self._result_publishers.destroy()
            self._result_publishers = None
        if self._positions is not None:
            self._positions.destroy()
            self._positions = None
        self._targets.clear()
        self._tracker = None
