# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The lifecycle node: wiring only.

Images go from `cameras` to the thread in `tracking`, its results to `outputs`; services are answered here.
"""

from __future__ import annotations

import functools
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from rclpy.service import Service
from rclpy.subscription import Subscription
from snscf_msgs.srv import InitTarget, RemoveTarget, SetPrimary
from std_srvs.srv import SetBool, Trigger

from snscf_core import Tracker, WeightsError
from snscf_core.tuning import tuned_config
from snscf_ros import bringup, messages, middleware, supervision
from snscf_ros.cv_bridge_decoder import find_bridge
from snscf_ros.node import cameras, diagnostics, parameters, rclpy_private
from snscf_ros.node.bearings import Bearings
from snscf_ros.node.parameters import Parameters, Settings
from snscf_ros.node.publishers import Publishers
from snscf_ros.node.silence import Change, Silences
from snscf_ros.node.tracking_worker import MOST_FAILURES, CameraReport, TrackedFrame, TrackingWorker
from snscf_ros.stamps import nanoseconds
from snscf_ros.target_registry import Refused, TargetRegistry

_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE
_Transition = Callable[["TrackerNode", LifecycleState], TransitionCallbackReturn]

# s; many targets on a slow CPU take long, but a thread that takes longer than this is given up
_LONGEST_FRAME = 60.0
_HANGING = 5.0  # s; a frame that takes longer, and longer than camera_timeout, is told
_WATCH = 0.05  # s; how often is looked for silent cameras and for a tracker that hangs or has given up


def _transition(callback: _Transition) -> _Transition:
    """One transition at a time; what it raises is logged, which rclpy does not, and makes it fail."""

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


def _hanging(thread: TrackingWorker, timeout: float) -> float:
    """Seconds that the thread has been busy with one image, if that is too long; else 0."""
    busy = thread.busy_for
    return busy if busy > max(_HANGING, timeout) else 0.0


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class NotBroughtUp(RuntimeError):
    """The node could not configure or activate itself, as `autostart_node` asks."""


class TrackerNode(LifecycleNode):
    """Follows targets in the images of one or more cameras. See the README for topics, services and parameters."""

    def __init__(self) -> None:
        super().__init__(bringup.NODE_NAME)
        rclpy_private.check(self)
        self._transition = threading.Lock()
        self._tracker: Tracker | None = None
        self._targets = TargetRegistry()
        self._outputs: Publishers | None = None
        self._thread: TrackingWorker | None = None
        self._camera_subscriptions: list[Subscription] = []
        self._activated = 0.0
        self._broken = ""  # why the tracker has given up
        self._refusal = ""  # why the last transition failed
        self._driven = False  # somebody has asked for a transition
        self._restarts = supervision.restarts()
        self._targets_lost = self._restarts > 0  # with the process before, and none has been started since
        self._left_behind = False  # a thread that could not be ended still works with the tracker and the targets
        self._stages = diagnostics.Stages()
        self._declared = Parameters(
            self, lambda: self._tracker is not None or self._transition.locked(), self._parameters_changed
        )
        self._bearings = Bearings(lambda: self.settings, lambda text: self.get_logger().warning(text))
        self._silences = Silences()
        self._answer_illegal_transitions()
        self._answer_malformed_parameters()
        self._offer_services()
        self._start_diagnostics()
        for text in parameters.unknown(rclpy_private.parameter_overrides(self)):
            self.get_logger().warning(text)
        if self._restarts:
            self.get_logger().warning(
                f"started again (restart {self._restarts}): what the process before followed is lost; call init_target"
            )
        # both in the node's own group, like the services of the transitions: they may ask for one
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._bring_up_timer = self.create_timer(0.0, self._bring_up, clock=steady)
        self.create_timer(_WATCH, self._watch, clock=steady)

    @property
    def settings(self) -> Settings:
        return self._declared.settings

    def waits(self, entity: object) -> bool:
        """Whether a callback may take long, for the executor: init_target, the start by itself, and the node's own
        services, transitions among them, which share a group that keeps them apart."""
        if entity is self._bring_up_timer:
            return True
        return isinstance(entity, Service) and entity.callback_group in (self._waiting, self.default_callback_group)

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
                ),
            )
            tracker.warm_up()
        except (WeightsError, ValueError, FileNotFoundError) as error:
            self._refuse(str(error))
            return _FAILURE
        find_bridge()
        self._outputs = Publishers(self, settings.cameras, lambda: self.settings, self._restarts)
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
            self._refuse("the tracker still hangs in an image of before; clean up and configure it anew")
            return _FAILURE
        try:
            return self._begin(self._tracker, state)
        except Exception:
            self._stop()
            super().on_deactivate(state)  # the publishers were on already
            raise

    def _begin(self, tracker: Tracker, state: LifecycleState) -> TransitionCallbackReturn:
        settings = self.settings
        result = super().on_activate(state)
        self._stages.take()
        self._broken = ""
        self._silences = Silences()
        self._activated = time.monotonic()
        self._thread = TrackingWorker(tracker, settings.cameras, self._targets, lambda: self.settings, self)
        self._thread.start()
        topics = []
        for camera in settings.cameras:
            image = cameras.subscribe(self, camera, settings.image_transport, self._thread.offer)
            self._camera_subscriptions.append(image)
            info = cameras.subscribe_info(self, camera, image.topic_name, self._bearings.received)
            self._camera_subscriptions.append(info)
            topics.append(image.topic_name)
        self.get_logger().info(f"active: reading {', '.join(topics)}")
        unnamed = cameras.topic("", settings.image_transport)
        if "" not in settings.cameras and cameras.is_remapped(self, unnamed):
            named = cameras.topic(settings.cameras[0], settings.image_transport)
            self.get_logger().warning(
                f"'{unnamed}' is remapped (image_topic of the launch file), but the cameras have names:"
                f" remap '{named}' and the like instead"
            )
        advice = middleware.advice(bringup.profile_file(), rclpy.get_rmw_implementation_identifier())
        if advice is not None and settings.image_transport == "raw":
            self.get_logger().warning(advice)
        return result

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
        """Stop for good, before the process ends; False if a transition or a frame takes longer than `timeout`."""
        deadline = time.monotonic() + timeout
        if not self._transition.acquire(timeout=timeout):
            return False
        return self._thread is None or self._thread.stop(max(0.0, deadline - time.monotonic()))

    def destroy_node(self) -> None:
        """Also lets go of the state machine, which rclpy forgets."""
        super().destroy_node()
        rclpy_private.destroy_state_machine(self)

    def _stop(self) -> None:
        for subscription in self._camera_subscriptions:
            self.destroy_subscription(subscription)
        self._camera_subscriptions = []
        thread, self._thread = self._thread, None
        if thread is not None and not thread.stop(_LONGEST_FRAME):
            self._left_behind = True
            self.get_logger().error(f"the frame at hand is not done after {_LONGEST_FRAME:.0f} s; left behind")

    def _free(self) -> None:
        if self._left_behind:
            self._targets = TargetRegistry()  # the old ones may still change
            self._left_behind = False
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        self._targets.clear()
        self._tracker = None

    def _answer_illegal_transitions(self) -> None:
        """rclpy's own callback raises for a transition that the state does not allow, which ends the executor and
        leaves the caller without an answer."""
        service = rclpy_private.service(self, ChangeState)
        change_state = service.callback

        def answer(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except Exception as error:  # rclpy's RCLError has no public name
                if self.context.ok():
                    self.get_logger().error(f"transition {request.transition.id} refused: {error}")
                response.success = False
                return response

        service.callback = answer

    def _answer_malformed_parameters(self) -> None:
        """The same for a parameter of a type that does not exist; and an unknown name is refused with the nearest."""
        each = rclpy_private.service(self, SetParameters)
        together = rclpy_private.service(self, SetParametersAtomically)
        set_each, set_together = each.callback, together.callback

        def answer_each(request: Any, response: Any) -> Any:
            for parameter in request.parameters:
                if not self.has_parameter(parameter.name) and (reasons := parameters.unknown([parameter.name])):
                    response.results.append(SetParametersResult(successful=False, reason=reasons[0]))
                    continue
                one = SetParameters.Request(parameters=[parameter])
                try:
                    response.results += set_each(one, SetParameters.Response()).results
                except ValueError as error:
                    response.results.append(SetParametersResult(successful=False, reason=str(error)))
            return response

        def answer_together(request: Any, response: Any) -> Any:
            try:
                return set_together(request, response)
            except ValueError as error:
                response.result = SetParametersResult(successful=False, reason=str(error))
                return response

        each.callback, together.callback = answer_each, answer_together

    # --- what the tracking thread tells ---

    def wants_pixels(self, camera: str) -> bool:
        return self._outputs is not None and self._outputs.wants_overlay(camera)

    def tracked(self, result: TrackedFrame) -> None:
        if self._outputs is None:
            return
        try:
            self._outputs.publish(result, self._bearings.of(result))
        except Exception as error:  # Fast DDS may refuse a message it has no room for; RCLError
            if self.context.ok():
                self.get_logger().warning(f"could not publish: {error}", throttle_duration_sec=5.0)

    def rejected(self, camera: str, reason: str) -> None:
        source = f"camera '{camera}'" if camera else "camera"
        self.get_logger().warning(f"image of {source} rejected: {reason}", throttle_duration_sec=2.0)

    def failed(self, camera: str, error: Exception) -> None:
        source = f"camera '{camera}'" if camera else "camera"
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        self.get_logger().error(f"image of {source} could not be tracked:\n{trace}", throttle_duration_sec=10.0)

    def fell_back(self, tracker: Tracker, error: Exception, dropped: list[str]) -> None:
        self._tracker = tracker
        lost = f"; these targets are lost: {', '.join(dropped)}" if dropped else ""
        self.get_logger().error(
            f"the device failed ({_first_line(error)}): the CPU takes over until the node is configured again{lost}"
        )

    def gave_up(self, error: Exception) -> None:
        self._broken = f"the tracker failed on {MOST_FAILURES} images in a row: {_first_line(error)}"

    def time_went_back(self, camera: str, seconds: float, dropped: list[str]) -> None:
        source = f"camera '{camera}'" if camera else "the camera"
        kept = f"forgot {', '.join(dropped)}" if dropped else "targets are kept"
        self.get_logger().warning(
            f"the stamps of {source} went back by {seconds:.3f} s: forgot its images; {kept}",
            throttle_duration_sec=1.0,
        )

    def took(self, stage: str, seconds: float) -> None:
        self._stages.add(stage, seconds)

    # --- services ---

    def _offer_services(self) -> None:
        # init_target waits for the tracking thread: in a group of its own it keeps nobody else waiting
        self._waiting, quick = MutuallyExclusiveCallbackGroup(), MutuallyExclusiveCallbackGroup()
        self.create_service(InitTarget, "~/init_target", self._init_target, callback_group=self._waiting)
        self.create_service(RemoveTarget, "~/remove_target", self._remove_target, callback_group=quick)
        self.create_service(SetPrimary, "~/set_primary", self._set_primary, callback_group=quick)
        self.create_service(Trigger, "~/reset", self._reset, callback_group=quick)
        self.create_service(SetBool, "~/enable", self._enable, callback_group=quick)

    def _active(self) -> TrackingWorker:
        if (thread := self._thread) is None:
            raise Refused("the tracker is not active: configure and activate it first (ros2 lifecycle set)")
        return thread

    def _init_target(self, request: InitTarget.Request, response: InitTarget.Response) -> InitTarget.Response:
        try:
            box = messages.box_from_message(request.bbox)
            stamp_ns = nanoseconds(request.stamp)
            started = self._active().init(request.camera, stamp_ns, box, request.target_id)
            response.target_id, response.frames_caught_up = started
            response.success = True
            self._targets_lost = False
            x, y, w, h = box
            response.message = f"following '{response.target_id}' from x {x:g}, y {y:g}, width {w:g}, height {h:g}"
            if started.frames_caught_up:
                response.message += f", through {started.frames_caught_up} images that came since"
            self.get_logger().info(response.message)
        except ValueError as reason:
            response.message = str(reason)
            self.get_logger().warning(f"init_target refused: {reason}")
        except Exception as error:  # an answer is owed, and the executor must go on
            response.message = f"internal error: {error!r}"
            self.get_logger().error(f"init_target failed:\n{traceback.format_exc()}")
        return response

    def _remove_target(self, request: RemoveTarget.Request, response: RemoveTarget.Response) -> RemoveTarget.Response:
        try:
            response.message = f"removed '{self._targets.remove(request.target_id)}'"
            response.success = True
        except Refused as reason:
            response.message = str(reason)
        return response

    def _set_primary(self, request: SetPrimary.Request, response: SetPrimary.Response) -> SetPrimary.Response:
        try:
            response.target_id = self._targets.choose(request.target_id)
            response.success = True
            response.message = (
                f"primary is '{response.target_id}'" if response.target_id else "nothing is being followed"
            )
        except Refused as reason:
            response.message = str(reason)
        return response

    def _reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        thread = self._thread
        count = self._targets.clear() if thread is None else thread.reset()
        response.success = True
        response.message = f"forgot {count} targets and all counts"
        return response

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        try:
            self._active().enable(request.data)
            response.success = True
            response.message = "tracking" if request.data else "targets are kept, images are left alone"
        except Refused as reason:
            response.message = str(reason)
        return response

    # --- what nobody asks for ---

    def _watch(self) -> None:
        if self._broken and self._thread is not None:
            self.get_logger().fatal(f"{self._broken}; deactivating. Activate the node to try again")
            self.trigger_deactivate()
            return
        thread, outputs = self._thread, self._outputs
        if thread is None or outputs is None or not thread.enabled:
            return
        now, timeout = time.monotonic(), self.settings.camera_timeout
        hangs = _hanging(thread, timeout)
        for name, report in thread.reports().items():
            silent_for = now - max(self._activated, report.last_usable or 0.0)
            source = f"camera '{name}'" if name else "the camera"
            match self._silences.observe(name, max(silent_for, hangs), timeout):
                case Change.FELL_SILENT:
                    if hangs:
                        reason = f"the tracker has been busy with one image for {hangs:.1f} s"
                    elif now - (report.last_received or 0.0) > timeout:
                        reason = f"no image from {source} for {silent_for:.1f} s"
                    else:
                        reason = f"no image from {source} could be used for {silent_for:.1f} s"
                    self.get_logger().warning(reason)
                    self._publish_silence(outputs, name, report)
                case Change.STILL_SILENT:
                    self._publish_silence(outputs, name, report)
                case Change.RETURNED:
                    self.get_logger().info(f"images from {source} arrive again")
                case None:
                    pass

    def _publish_silence(self, outputs: Publishers, camera: str, report: CameraReport) -> None:
        try:
            outputs.publish_silence(camera, report, self._targets.latest().keys())
        except Exception as error:  # RCLError
            if self.context.ok():
                self.get_logger().warning(f"could not publish: {error}", throttle_duration_sec=5.0)

    # --- diagnostics ---

    def _start_diagnostics(self) -> None:
        self._get_state = rclpy_private.service(self, GetState)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", QoSProfile(depth=5))
        self._diagnostics_timer = self.create_timer(
            1.0 / self.settings.diagnostics_rate,
            self._report,
            callback_group=MutuallyExclusiveCallbackGroup(),
            # simulated time may stand still; whether the node is well must still be told
            clock=Clock(clock_type=ClockType.STEADY_TIME),
        )

    def _parameters_changed(self, settings: Settings) -> None:
        self._diagnostics_timer.timer_period_ns = int(1e9 / settings.diagnostics_rate)

    def _report(self) -> None:
        now = time.monotonic()
        tracker, thread = self._tracker, self._thread
        hangs = 0.0 if thread is None else _hanging(thread, self.settings.camera_timeout)
        health = diagnostics.Health(
            node=self.get_fully_qualified_name(),
            # asked like any client asks, because rclpy has no public name for the state itself
            state=self._get_state.callback(GetState.Request(), GetState.Response()).current_state.label,
            enabled=thread is not None and thread.enabled,
            tracker={}
            if tracker is None
            else {name: str(getattr(tracker, name)) for name in ("model", "mode", "device", "engine")},
            stages=self._stages.take(),
            cameras={}
            if thread is None
            else {
                name: diagnostics.CameraHealth(
                    report.counts,
                    now - max(self._activated, report.last_received or 0.0),
                    now - max(self._activated, report.last_usable or 0.0),
                    self._bearings.state(name),
                )
                for name, report in thread.reports().items()
            },
            targets=self._targets.latest(),
            restarts=self._restarts,
            targets_lost=self._targets_lost,
            broken=f"busy with one image for {hangs:.1f} s" if hangs else self._broken,
        )
        array = diagnostics.report(health, self.settings.camera_timeout, self.get_clock().now().to_msg())
        try:
            self._diagnostics.publish(array)
        except Exception as error:  # RCLError
            if self.context.ok():
                self.get_logger().warning(f"could not publish diagnostics: {error}", throttle_duration_sec=5.0)
