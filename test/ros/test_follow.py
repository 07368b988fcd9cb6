# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The real follower after the real tracker, by topics: what it sends moves the robot that carries the camera."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.node import NodeNameNonExistentError
from ros_harness import end_process, image_message, wait_for
from sensor_msgs.msg import CameraInfo, Image
from snscf_msgs.msg import FollowStatus, TrackStatus, TrackStatusArray
from std_srvs.srv import SetBool
from test_security import allowed

from snscf_ros import bringup
from snscf_ros.follow.follower import Mode
from snscf_ros.simulation import Pinhole, Unicycle, Velocity, World
from snscf_ros.stamps import nanoseconds

pytestmark = pytest.mark.slow

LENS = Pinhole.with_view((320, 240), math.radians(70))
PERIOD = 0.1  # s between two images


class Robot:
    """Drives as commanded, and sends what its camera sees, until it is closed.

    paused: while true, its camera sends nothing. shift: seconds that are added to its images' stamps.
    view: what was sent last. commands: all that came.
    """

    def __init__(self, peer: Any, off: float) -> None:
        """off: angle from the target to where the robot looks at first."""
        self.world = World(3, LENS, speed=0.05, look_alikes=0)
        at = self.world.course.at(0.0)
        self.body = Unicycle(at[0] - 4.0, at[1], off)
        self.paused, self.shift = False, 0.0
        self.commands: list[TwistStamped] = []
        self._node = peer.node
        self._images = self._node.create_publisher(Image, "image_raw", 1)
        self._infos = self._node.create_publisher(CameraInfo, "camera_info", 1)
        self._subscription = self._node.create_subscription(TwistStamped, "cmd_vel", self.commands.append, 50)
        self.view = self.world.view(self.body.camera(), 0.0)
        self._time, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def off(self) -> float:
        """The angle from the middle of the image to the target; negative on the left."""
        x, _, z = self.view.pose.to_camera(self.view.target)
        return math.atan2(x, z)

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        for publisher in (self._images, self._infos):
            self._node.destroy_publisher(publisher)
        self._node.destroy_subscription(self._subscription)

    def _run(self) -> None:
        while not self._end.wait(PERIOD):
            last = self.commands[-1].twist if self.commands else TwistStamped().twist
            for _ in range(5):
                self.body.step(PERIOD / 5, Velocity(forward=last.linear.x, turn=last.angular.z))
            self._time += PERIOD
            self.view = self.world.view(self.body.camera(), self._time)
            if self.paused:
                continue
            now = self._node.get_clock().now().nanoseconds + round(self.shift * 1e9)
            image = image_message(self.view.image, "bgr8")
            image.header.stamp.sec, image.header.stamp.nanosec = divmod(now, 10**9)
            info = CameraInfo(width=LENS.size[0], height=LENS.size[1], distortion_model="plumb_bob")
            info.header, info.k = image.header, LENS.matrix.ravel()
            self._infos.publish(info)
            self._images.publish(image)


class FollowProcess:
    """The real executable in a process of its own."""

    def __init__(self, **parameters: Any) -> None:
        self._log = tempfile.NamedTemporaryFile("w+", suffix=".log")
        self.process = subprocess.Popen(
            bringup.follow_command(None, parameters),
            env={**os.environ, **bringup.middleware_environment()},
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")


@contextmanager
def following(**parameters: Any) -> Iterator[FollowProcess]:
    process = FollowProcess(**parameters)
    try:
        yield process
    finally:
        end_process(process.process)
        assert "Traceback" not in process.log(), process.log()


@pytest.fixture
def robot(tracker) -> Iterator[Robot]:
    robot = Robot(tracker.peer, off=0.35)
    yield robot
    robot.close()


def enable(tracker, on: bool) -> Any:
    """Ask until there is an answer: the follower may not know this client yet."""
    node = tracker.peer.node
    client = node.create_client(SetBool, "/follow/enable")
    try:
        wait_for(client.service_is_ready, "the service")
        for _ in range(20):
            asked = client.call_async(SetBool.Request(data=on))
            until = time.monotonic() + 3.0
            while not asked.done() and time.monotonic() < until:
                time.sleep(0.005)
            if asked.done():
                return asked.result()
        raise AssertionError("the follower does not answer")
    finally:
        node.destroy_client(client)


def start_on_target(tracker, robot: Robot) -> None:
    """Start on where the target is, before the robot moves."""
    wait_for(lambda: tracker.init(robot.view.box, "cup").success, "a start")


def zero(command: TwistStamped) -> bool:
    return command.twist == TwistStamped().twist


def new(messages: list[Any]) -> Any:
    """The next message that comes."""
    count = len(messages)
    return wait_for(lambda: messages[count] if len(messages) > count else None, "one more message")


def test_robot_turns_to_its_target_and_stops_when_it_must(tracker, robot):
    size = {"target_width": robot.world.target_size[0], "target_height": robot.world.target_size[1]}
    assert all(result.successful for result in tracker.set_parameters(size))
    with (
        following(distance_from="position") as process,
        tracker.peer.received(FollowStatus, "/follow/status") as statuses,
    ):
        start_on_target(tracker, robot)
        wait_for(lambda: statuses and statuses[-1].target_id == "cup", "a status about the target")
        assert statuses[-1].reasons == ["not_enabled"] and not statuses[-1].enabled
        assert not robot.commands, "who is not enabled leaves the topic to others"
        assert robot.off > 0.25
        assert enable(tracker, True).success
        wait_for(lambda: abs(robot.off) < 0.08, "a target in the middle")
        turned = [command.twist.angular.z for command in robot.commands]
        assert min(turned) < -0.1, "to the right"
        assert robot.commands[-1].header.frame_id == "base_link"

        far = float(robot.view.pose.to_camera(robot.view.target)[2])
        assert abs(wait_for(lambda: new(statuses), "a status").distance / far - 1) < 0.2
        assert any(command.twist.linear.x > 0.05 for command in robot.commands), "it drives to its distance"

        robot.paused = True
        wait_for(lambda: {"no_status", "old_image"} & set(statuses[-1].reasons), "no image")
        assert statuses[-1].text
        assert zero(new(robot.commands))
        robot.paused = False
        wait_for(lambda: statuses[-1].mode == FollowStatus.FOLLOWING, "following again")

        robot.shift = -5.0
        wait_for(lambda: "old_image" in statuses[-1].reasons, "old images")
        assert zero(new(robot.commands))
        robot.shift = 0.0
        wait_for(lambda: statuses[-1].mode == FollowStatus.FOLLOWING, "following again")

        tracker.reset()
        wait_for(lambda: statuses[-1].reasons == ["no_target"], "no target")
        assert zero(new(robot.commands))

        assert enable(tracker, False).success
        assert zero(new(robot.commands))
        # it sends zeros for a second, and then leaves the topic to others
        wait_for(
            lambda: nanoseconds(statuses[-1].header.stamp) - nanoseconds(robot.commands[-1].header.stamp) > 10**9,
            "silence",
        )
        assert statuses[-1].reasons == ["not_enabled", "no_target"]
        assert "waiting: the image is" in process.log()


def test_its_last_command_is_to_stop(tracker, robot):
    with following(enabled=True) as process:
        start_on_target(tracker, robot)
        wait_for(lambda: any(not zero(command) for command in robot.commands), "a movement")
        assert end_process(process.process) == 0
        wait_for(lambda: zero(robot.commands[-1]), "a last command of zero")


def test_whatever_is_said_of_a_target_commands_stay_within_limits(peer):
    rng = np.random.default_rng(5)
    publisher = peer.node.create_publisher(TrackStatusArray, "/liar/status", 50)
    odd = [math.nan, math.inf, -math.inf, 1e300, -1e30, 0.0]

    def number(low: float, high: float) -> float:
        return float(rng.choice(odd)) if rng.random() < 0.1 else float(rng.uniform(low, high))

    def status() -> TrackStatusArray:
        message = TrackStatusArray(camera_silent=bool(rng.random() < 0.05))
        stamp = peer.node.get_clock().now().nanoseconds + (
            0 if rng.random() < 0.8 else int(rng.integers(-(10**10), 10**10))
        )
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
        for _ in range(rng.integers(0, 3)):
            one = TrackStatus(target_id=str(rng.choice(["a", "a", "a", "b"])), primary=bool(rng.random() < 0.9))
            one.state = int(rng.choice([0, 0, 0, 0, 1, 2, 9]))
            one.bearing_valid, angle = bool(rng.random() < 0.95), number(-1.0, 1.0)
            direction = (math.sin(angle), number(-0.1, 0.1), math.cos(angle)) if math.isfinite(angle) else (angle,) * 3
            one.bearing.x, one.bearing.y, one.bearing.z = direction
            with np.errstate(over="ignore"):
                one.score, one.angular_width, one.angular_height = (
                    float(np.float32(number(0.0, 1.0))) for _ in range(3)
                )
            message.targets.append(one)
        return message

    with following(tracker="/liar", enabled=True) as process:
        with (
            peer.received(TwistStamped, "/cmd_vel", depth=1000) as commands,
            peer.received(FollowStatus, "/follow/status", depth=1000) as statuses,
        ):
            wait_for(publisher.get_subscription_count, "the follower")
            for _ in range(400):
                publisher.publish(status())
                time.sleep(0.01)
            wait_for(lambda: statuses[-1].reasons[:1] == ["no_status"], "silence")
            assert any(status.mode == FollowStatus.FOLLOWING for status in statuses)
            for command in commands:
                linear, angular = command.twist.linear, command.twist.angular
                assert 0.0 <= linear.x <= 0.8 and abs(angular.z) <= 1.0
                assert linear.y == linear.z == angular.x == angular.y == 0.0
        assert process.process.poll() is None, process.log()
    peer.node.destroy_publisher(publisher)


def test_policy_allows_what_the_follower_does_and_no_more(peer):
    def used(names_and_types) -> set[str]:
        try:
            return {name for name, _ in names_and_types("follow", "/")}
        except NodeNameNonExistentError:
            return set()

    node = peer.node
    with following(distance_from="position"):
        publishes = allowed("follow", "topic", "publish")
        wait_for(lambda: used(node.get_publisher_names_and_types_by_node) == publishes, "the publishers")
        subscribes = allowed("follow", "topic", "subscribe") - {"/clock"}
        wait_for(lambda: used(node.get_subscriber_names_and_types_by_node) == subscribes, "the subscriptions")
        answers = allowed("follow", "service", "reply")
        wait_for(lambda: used(node.get_service_names_and_types_by_node) == answers, "the services")


def test_modes_are_those_of_the_message():
    assert {name: getattr(FollowStatus, name) for name in Mode.__members__} == dict(Mode.__members__)


def test_wrong_parameter_ends_it_with_its_name():
    done = subprocess.run(
        bringup.follow_command(None, {"distance_from": "radar"}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("follow: distance_from is 'radar', must be one of none")
