# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds where the targets of each tracked image are, and predicts where the primary one will be."""

from __future__ import annotations

import functools
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from snscf_core import TrackState
from snscf_ros.camera_model import CalibrationError, CameraModel
from snscf_ros.node.position import inputs, position_messages
from snscf_ros.node.position.outputs import PositionOutputs
from snscf_ros.node.position.position_messages import Place
from snscf_ros.node.position.settings import PositionSettings, gives_positions
from snscf_ros.position.box_errors import LEAST_SCORE, box_deviations
from snscf_ros.position.depth import DepthImage, DepthRefused
from snscf_ros.position.estimate import Directions, Errors, PositionUnknown
from snscf_ros.position.locating import Evidence, locate
from snscf_ros.position.motion import Points, Sighting, TargetMotion
from snscf_ros.position.rigid import Array, Rigid
from snscf_ros.position.transform_buffer import TransformMissing
from snscf_ros.stamps import SECOND, nanoseconds
from snscf_ros.target_registry import TrackedTarget

# how long after the last transform the camera's movement is continued, for a prediction
_BEYOND_PREDICTION = SECOND
# an image whose stamp is further from the node's clock has its stamp from another clock
_OTHER_CLOCK = 2 * SECOND


@dataclass(frozen=True, eq=False)
class TrackedImage:
    """One image that was tracked in.

    stamp_ns: in nanoseconds, never 0. received: when it reached the node (monotonic seconds).
    size: width and height in pixels.
    """

    camera: str
    header: Header
    stamp_ns: int
    received: float
    size: tuple[int, int]
    targets: tuple[TrackedTarget, ...]


@dataclass(eq=False)
class _Followed:
    """What is known of one target.

    frame: of its motion. view: the last image, and the target in it. points: of the camera; None where not known.
    """

    motion: TargetMotion
    frame: str
    view: tuple[TrackedImage, TrackedTarget]
    points: Points | None


@dataclass(frozen=True, eq=False)
class _Moment:
    """What holds for all targets of one image.

    directions, points: of the camera; None where its calibration is not known. camera: from the optical frame to
    `frame`.
    """

    directions: Directions | None
    points: Points | None
    camera: Rigid
    frame: str
    plane: Rigid | None
    depth: DepthImage | None


class Positions:
    """Keeps the motion of each target. Its methods may be called from different threads.

    transforms: those of /tf. wanted: returns whether somebody waits for results.
    """

    def __init__(
        self,
        node: LifecycleNode,
        cameras: Sequence[str],
        settings: Callable[[], PositionSettings],
        calibration: Callable[[str], CameraModel | None],
    ) -> None:
        """Create the publishers. calibration: of a camera by its name; None where it is not known."""
        self._node = node
        self._cameras = tuple(cameras)
        self._settings = settings
        self._calibration = calibration
        self._outputs = PositionOutputs(node, settings().target_frames)
        self.wanted = self._outputs.wanted
        self._lock = threading.RLock()
        self.transforms = inputs.Transforms(self._transform)
        self._depths = {camera: inputs.DepthStream() for camera in cameras}
        self._waiting: dict[str, TrackedImage] = {}  # for a depth image or a transform, by camera
        self._followed: dict[str, _Followed] = {}  # by target id
        self._subscriptions: list[Subscription] = []
        self._timer: Timer | None = None
        self._process_ready = self._guarded(self._process_what_is_ready)

    # --- life cycle ---

    def activate(self) -> None:
        """Subscribe to what is asked for, and begin to predict."""
        settings = self._settings()
        if settings.use_depth:
            self._subscriptions += [inputs.subscribe_depth(self._node, name, self._depth) for name in self._cameras]
        if settings.position_frame or settings.plane_frame:
            self._subscriptions += self.transforms.subscribe(self._node)
        self.set_rate(settings.prediction_rate)

    def deactivate(self) -> None:
        """End the subscriptions, and forget how the targets moved."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self.transforms.forget()
        with self._lock:
            self._waiting.clear()
            self._followed.clear()
            self._depths = {camera: inputs.DepthStream() for camera in self._cameras}

    def destroy(self) -> None:
        self.deactivate()
        self._outputs.destroy()

    def set_rate(self, rate: float) -> None:
        """Predict so many times a second, in the time of the node's clock; 0 for never."""
        if rate > 0 and self._timer is not None:
            self._timer.timer_period_ns = int(1e9 / rate)
            return
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
            self._timer = None
        if rate > 0:
            self._timer = self._node.create_timer(1.0 / rate, self._guarded(self._predict))

    def _guarded(self, function: Callable[[], None]) -> Callable[[], None]:
        """Log what a callback of the executor raises, which would otherwise end the node."""

        @functools.wraps(function)
        def guarded() -> None:
            try:
                function()
            except Exception as error:  # Fast DDS may refuse a message it has no room for; RCLError
                if self._node.context.ok():
                    self._warn(f"could not publish positions: {error}")

        return guarded

    def _warn(self, text: str) -> None:
        self._node.get_logger().warning(text, throttle_duration_sec=10.0)

    # --- what comes in ---

    def tracked(
        self, camera: str, header: Header, size: tuple[int, int], received: float, targets: tuple[TrackedTarget, ...]
    ) -> None:
        """Take what was found in one image. Publishes when its depth image and its transforms are there.

        If another image comes first, it publishes without them as well as it can.
        """
        if not self.wanted():
            return
        stamp_ns = nanoseconds(header.stamp) or self._now() - round((time.monotonic() - received) * SECOND)
        image = TrackedImage(camera, header, stamp_ns, received, size, targets)
        with self._lock:
            before = self._waiting.pop(camera, None)
            if before is not None:
                self._process(before)
            self._waiting[camera] = image
            self._process_ready()
            if self._followed and self._timer is not None and self._timer.is_canceled():
                self._timer.reset()

    def _rest(self) -> None:
        """Stop the timer until there is something to predict: each tick of it costs about a millisecond."""
        if self._timer is not None:
            self._timer.cancel()

    def _depth(self, camera: str, message: Image) -> None:
        with self._lock:
            self._depths[camera].add(message)
            self._process_ready()

    def _transform(self, problem: str) -> None:
        if problem:
            self._warn(problem)
        with self._lock:
            if self._waiting:
                self._process_ready()

    def _process_what_is_ready(self) -> None:
        for camera, image in list(self._waiting.items()):
            if self._is_ready(image):
                del self._waiting[camera]
                self._process(image)

    def _is_ready(self, image: TrackedImage) -> bool:
        settings, depths = self._settings(), self._depths[image.camera]
        if settings.use_depth and depths.at(image.stamp_ns) is None and depths.may_come(image.stamp_ns):
            return False
        try:
            for frame in (settings.position_frame, settings.plane_frame):
                if frame:
                    self.transforms.find(frame, image.header.frame_id, image.stamp_ns)
        except TransformMissing:
            return False
        return True

    # --- positions ---

    def _process(self, image: TrackedImage) -> None:
        settings = self._settings()
        moment = self._moment(image, settings)
        for target_id in [i for i, one in self._followed.items() if one.view[0].camera == image.camera]:
            if not any(target.target_id == target_id for target in image.targets):
                del self._followed[target_id]
        found = [self._place(image, target, moment, settings) for target in image.targets]
        places = [place for place in found if place is not None]
        # subscribers expect the frame that they set; positions in another would mislead them
        if gives_positions(settings) and moment.frame == (settings.position_frame or image.header.frame_id):
            header = Header(stamp=image.header.stamp, frame_id=moment.frame)
            self._outputs.publish(header, places, settings)

    def _moment(self, image: TrackedImage, settings: PositionSettings) -> _Moment:
        """Collect what is known at the time of an image; warn of what is missing."""
        optical = image.header.frame_id
        camera, frame, plane, depth = Rigid.identity(), optical, None, None
        try:
            if settings.position_frame:
                camera = self.transforms.find(settings.position_frame, optical, image.stamp_ns, inputs.BEYOND_IMAGE)
                frame = settings.position_frame
            if settings.plane_frame:
                plane = self.transforms.find(optical, settings.plane_frame, image.stamp_ns, inputs.BEYOND_IMAGE)
        except TransformMissing as reason:
            self._warn(f"no positions: {reason}")
        if settings.use_depth and (message := self._depths[image.camera].at(image.stamp_ns)) is not None:
            try:
                depth = DepthImage(message)
            except DepthRefused as reason:
                self._warn(f"no depth: {reason}")
        model = self._calibration(image.camera)
        if model is not None:
            try:
                model.check_size(*image.size)
            except CalibrationError:  # the bearings warn of it
                model = None
        if model is None:
            if gives_positions(settings) and image.targets:
                self._warn(f"no positions: no calibration is known that fits the images of '{optical}'")
            return _Moment(None, None, camera, frame, plane, depth)
        directions = functools.partial(_directions, model, image.size)
        return _Moment(directions, functools.partial(_points, model, image.size), camera, frame, plane, depth)

    def _place(
        self, image: TrackedImage, target: TrackedTarget, moment: _Moment, settings: PositionSettings
    ) -> Place | None:
        """Take in one target of an image. Return where it is; None where that is not known."""
        fixed = bool(settings.position_frame) and moment.frame == settings.position_frame
        known = self._followed.get(target.target_id)
        if known is not None and known.view[1].start != target.start:
            known = None
        if known is not None and known.frame != moment.frame:
            if known.motion.position_at(image.stamp_ns, settings.position_hold) is not None:
                # its transform is missing for the moment; the motion in the fixed frame goes on meanwhile
                return None
            known = None
        if known is None:
            known = _Followed(TargetMotion(fixed, settings.target_acceleration), moment.frame, (image, target), None)
            self._followed[target.target_id] = known
        known.view, known.points = (image, target), moment.points
        point = covariance = None
        if target.track.state == TrackState.LOST:
            known.motion.lost()
        elif target.track.score < LEAST_SCORE:
            known.motion.hidden()
        else:
            sighting = self._sighting(image, target, moment, settings, known.motion)
            if known.motion.update(sighting) and sighting.position is not None:
                point, covariance = sighting.position.point, sighting.position.covariance
        if point is None or covariance is None:
            held = known.motion.position_at(image.stamp_ns, settings.position_hold)
            if held is None:
                return None
            point, covariance = held.place, held.covariance[:3, :3]
        extent = _extent(moment.directions, target, float(np.linalg.norm(point - moment.camera.shift)))
        facing = position_messages.facing_from(moment.camera, point, fixed)
        return Place(target, point, covariance, facing, extent)

    def _sighting(
        self,
        image: TrackedImage,
        target: TrackedTarget,
        moment: _Moment,
        settings: PositionSettings,
        motion: TargetMotion,
    ) -> Sighting:
        track = target.track
        deviations = box_deviations(track.box, track.score, *image.size, factor=settings.box_error)
        position = None
        if moment.directions is not None and gives_positions(settings):
            errors = Errors(deviations, settings.direction_error, settings.depth_error, settings.target_size_error)
            evidence = Evidence(
                moment.depth,
                _expected_depth(motion, image.stamp_ns, moment.camera, settings.position_hold),
                (settings.target_width, settings.target_height),
                moment.plane,
                settings.plane_contact == "bottom",
            )
            try:
                found = locate(moment.directions, track.box, image.size, evidence, errors, settings.position_source)
                position = found.moved(moment.camera)
            except PositionUnknown as reason:
                self._warn(f"no position of '{target.target_id}': {reason}")
        return Sighting(
            image.stamp_ns,
            track.box,
            deviations,
            moment.directions,
            settings.direction_error,
            moment.camera,
            position,
        )

    # --- predictions ---

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _time_of(self, image: TrackedImage) -> int:
        """Return what time it is now on the clock that stamps the camera's images."""
        now = self._now()
        if abs(now - image.stamp_ns) < _OTHER_CLOCK:
            return now
        return image.stamp_ns + round((time.monotonic() - image.received) * SECOND)

    def _predict(self) -> None:
        settings = self._settings()
        with self._lock:
            if not (self._outputs.predictions_wanted and self._followed):
                self._rest()
                return
            known = next((one for one in self._followed.values() if one.view[1].primary), None)
            if known is None or known.motion.last is None:
                return
            image, target = known.view
            stamp_ns = self._time_of(image) + round(settings.prediction_lead * SECOND)
            camera = functools.partial(self._camera_at, known, image)
            found = known.motion.predict(stamp_ns, camera, known.points, settings.position_hold)
            measured_ns = known.motion.last.stamp_ns
        if found is not None:
            optical = image.header.frame_id
            self._outputs.publish_prediction(
                position_messages.prediction_message(
                    found, stamp_ns, measured_ns, optical, image.camera, target, known.frame
                )
            )

    def _camera_at(self, known: _Followed, image: TrackedImage, stamp_ns: int) -> Rigid:
        """Return where the camera is at a time, or where it was last."""
        optical = image.header.frame_id
        if known.frame == optical or known.motion.last is None:
            return Rigid.identity()
        try:
            return self.transforms.find(known.frame, optical, stamp_ns, _BEYOND_PREDICTION)
        except TransformMissing:
            return known.motion.last.camera


def _directions(model: CameraModel, size: tuple[int, int], points: Array) -> Array:
    return model.directions(points, *size)


def _points(model: CameraModel, size: tuple[int, int], directions: Array) -> Array:
    return model.points(directions, *size)


def _expected_depth(motion: TargetMotion, stamp_ns: int, camera: Rigid, hold: float) -> tuple[float, float] | None:
    """Return the depth that is expected of a target along the optical axis, and its standard deviation, in metres."""
    moving = motion.position_at(stamp_ns, hold)
    if moving is None:
        return None
    axis = camera.rotation[:, 2]
    variance = float(axis @ moving.covariance[:3, :3] @ axis)
    return float(camera.inverse(moving.place)[2]), math.sqrt(max(variance, 0.0))


def _extent(directions: Directions | None, target: TrackedTarget, distance: float) -> tuple[float, float]:
    """Return width and height of a target at a distance, in metres, by its box; NaN where not known."""
    if directions is None:
        return (math.nan, math.nan)
    x, y, w, h = target.track.box
    sides = np.array([(x, y + h / 2), (x + w, y + h / 2), (x + w / 2, y), (x + w / 2, y + h)])
    left, right, top, bottom = directions(sides)
    return (distance * float(np.linalg.norm(right - left)), distance * float(np.linalg.norm(bottom - top)))
