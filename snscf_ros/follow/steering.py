# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Connects a follower with ROS: what the tracker says comes in, commands and the reasons for them go out."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.qos import QoSProfile

from snscf_core import TrackState
from snscf_ros.follow.follower import Follower, Mode, Order, Velocity
from snscf_ros.follow.settings import FollowSettings
from snscf_ros.follow.sighting import Sighting, angles
from snscf_ros.stamps import nanoseconds

if TYPE_CHECKING:
    from rclpy.node import Node
    from snscf_msgs.msg import FollowStatus, TrackStatusArray

_ZEROS = 1.0  # s for which it sends zeros after it has been disabled; then others may drive
_FAREWELL = 0.5  # s that the last command may take to arrive
_NOTHING = Velocity()


class Steering:
    """Sends commands at the follower's rate. Everything but `close` runs in the executor's thread."""

    def __init__(self, node: Node, settings: FollowSettings) -> None:
        """Subscribe, and begin to send."""
        from geometry_msgs.msg import TwistStamped
        from snscf_msgs.msg import FollowStatus, TrackStatusArray
        from std_srvs.srv import SetBool

        self._node, self._settings = node, settings
        self._follower = Follower(settings)
        self._clock = node.get_clock()
        self._logger = node.get_logger()
        self._camera_frame = ""
        self._said: tuple[Mode, tuple[str, ...]] | None = None
        self._zeros_until = math.inf if settings.enabled else -math.inf
        self._lock, self._closed = threading.Lock(), False
        tracker = node.resolve_service_name(settings.tracker)
        newest = QoSProfile(depth=5)
        self._commands = node.create_publisher(TwistStamped, "cmd_vel", QoSProfile(depth=1))
        self._statuses = node.create_publisher(FollowStatus, "~/status", QoSProfile(depth=1))
        node.create_subscription(TrackStatusArray, f"{tracker}/status", self._take_status, newest)
        if settings.distance_from == "position":
            from vision_msgs.msg import Detection3DArray

            node.create_subscription(Detection3DArray, f"{tracker}/detections_3d", self._take_positions, newest)
        node.create_service(SetBool, "~/enable", self._enable)
        # a ROS clock may stand still, as in a simulation that is paused, and commands must end then
        node.create_timer(1.0 / settings.rate, self._send, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def close(self) -> None:
        """Stop the robot, and send nothing any more."""
        with self._lock:
            self._closed = True
            self._publish(_NOTHING, self._clock.now().to_msg())
        # a process that ends at once may take the message with it
        self._commands.wait_for_all_acked(Duration(seconds=_FAREWELL))

    def _enable(self, request: Any, response: Any) -> Any:
        self._follower.enable(request.data)
        self._zeros_until = math.inf if request.data else time.monotonic() + _ZEROS + self._settings.stop_time
        self._logger.info("following is enabled" if request.data else "following is not enabled any more")
        response.success = True
        response.message = "it follows when all else allows it" if request.data else "it stops"
        return response

    def _take_status(self, message: TrackStatusArray) -> None:
        if message.camera != self._settings.camera:
            return
        self._camera_frame = message.header.frame_id
        self._follower.see(sighting_of(message), self._now(), time.monotonic())

    def _take_positions(self, message: Any) -> None:
        if message.header.frame_id != self._camera_frame:
            if self._camera_frame:
                self._logger.warning(
                    f"positions are in the frame '{message.header.frame_id}', not in the camera's,"
                    f" '{self._camera_frame}', so the distance is not known: leave the tracker's position_frame empty",
                    once=True,
                )
            return
        for detection in message.detections:
            if not detection.results:
                continue
            at = detection.results[0].pose.pose.position
            length = math.hypot(at.x, at.y, at.z)
            if not (math.isfinite(length) and length > 0):
                continue
            direction = at.x / length, at.y / length, at.z / length
            down = angles(direction, self._settings.camera_yaw, self._settings.camera_pitch)[1]
            self._follower.see_position(detection.id, nanoseconds(message.header.stamp) * 1e-9, length * math.cos(down))

    def _send(self) -> None:
        steady = time.monotonic()
        order = self._follower.command(self._now(), steady)
        stamp = self._clock.now().to_msg()
        with self._lock:
            if self._closed:
                return
            # while it may not move, others may: theirs must be the only commands
            if self._follower.enabled or order.velocity != _NOTHING or steady < self._zeros_until:
                self._publish(order.velocity, stamp)
            self._statuses.publish(self._status(order, stamp))
        self._tell(order)

    def _publish(self, velocity: Velocity, stamp: Any) -> None:
        from geometry_msgs.msg import TwistStamped

        message = TwistStamped()
        message.header.stamp, message.header.frame_id = stamp, self._settings.frame_id
        message.twist.linear.x = velocity.forward
        message.twist.angular.y = velocity.tilt
        message.twist.angular.z = velocity.turn
        self._commands.publish(message)

    def _status(self, order: Order, stamp: Any) -> FollowStatus:
        from snscf_msgs.msg import FollowStatus

        message = FollowStatus(
            mode=int(order.mode),
            enabled=self._follower.enabled,
            reasons=[reason.code for reason in order.reasons],
            notes=[note.code for note in order.notes],
            text="; ".join(reason.text for reason in (*order.reasons, *order.notes)),
            target_id=order.target_id,
            age=order.age,
            left=order.left,
            down=order.down,
            distance=order.distance,
        )
        message.header.stamp, message.header.frame_id = stamp, self._settings.frame_id
        return message

    def _tell(self, order: Order) -> None:
        """Log what it does, and why, whenever that changes."""
        saying = order.mode, tuple(reason.code for reason in order.reasons)
        if saying != self._said:
            self._said = saying
            why = "; ".join(reason.text for reason in order.reasons)
            self._logger.info(f"{order.mode.name.lower().replace('_', ' ')}{': ' if why else ''}{why}")

    def _now(self) -> float:
        return float(self._clock.now().nanoseconds) * 1e-9


def sighting_of(message: TrackStatusArray) -> Sighting:
    """Return what a status says of the primary target."""
    stamp = nanoseconds(message.header.stamp) * 1e-9
    primary = next((target for target in message.targets if target.primary), None)
    if primary is None:
        return Sighting("", stamp, silent=message.camera_silent)
    at = primary.bearing
    return Sighting(
        primary.target_id,
        stamp,
        TrackState(primary.state) if primary.state in set(TrackState) else TrackState.LOST,
        primary.score,
        (at.x, at.y, at.z) if primary.bearing_valid else (math.nan, math.nan, math.nan),
        primary.angular_width,
        primary.angular_height,
        message.camera_silent,
    )
