# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Positions and predictions of a target in front of a camera that moves, from depth images, sizes, planes and /tf."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_harness import Scene, box_of, image_message, key, stamp_of, wait_for
from sensor_msgs.msg import CameraInfo, Image
from snscf_msgs.msg import TargetPrediction, TrackStatus, TrackStatusArray
from tf2_msgs.msg import TFMessage
from vision_msgs.msg import Detection3DArray

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
NEAR, FAR = 4.0, 9.0  # m
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def calibration() -> CameraInfo:
    message = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model="plumb_bob")
    message.d = [0.0] * 5
    message.k = [FOCAL, 0.0, (WIDTH - 1) / 2, 0.0, FOCAL, (HEIGHT - 1) / 2, 0.0, 0.0, 1.0]
    return message


def about_z(angle: float):
    return (0.0, 0.0, math.sin(angle / 2), math.cos(angle / 2))


def transform(parent: str, child: str, shift, quaternion=(0.0, 0.0, 0.0, 1.0), stamp=None) -> TransformStamped:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    if stamp is not None:
        message.header.stamp = stamp
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = map(float, shift)
    q.x, q.y, q.z, q.w = map(float, quaternion)
    return message


# a camera 1 m above its base looks ahead: right, down and forward are -y, -z and x there
MOUNT = transform("base", "camera", (0.0, 0.0, 1.0), (-0.5, 0.5, -0.5, 0.5))


def in_base(point):
    return np.array([point[2], -point[0], -point[1] + 1.0])


class Robot:
    """Publishes what a robot publishes: images, depth images, calibration and transforms."""

    def __init__(self, stack: ExitStack, tracker, depth: bool, moving: bool) -> None:
        node = tracker.peer.node
        self.scene = Scene(WIDTH, HEIGHT, 48)
        self.tracker, self.moving = tracker, moving
        self.yaw = 0.0  # to the left, rad
        self.statuses = stack.enter_context(tracker.peer.received(TrackStatusArray, f"{tracker.name}/status"))
        space = tracker.process.namespace
        self.depth = node.create_publisher(Image, f"{space}/depth/image_raw", 10) if depth else None
        self.info = node.create_publisher(CameraInfo, f"{space}/camera_info", 10)
        self.tf = node.create_publisher(TFMessage, "/tf", 100)
        self.static = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self.static.publish(TFMessage(transforms=[MOUNT, transform("odom", "ground", (0.0, 0.0, 0.0))]))
        publishers = [one for one in (self.depth, self.info, self.tf, self.static) if one is not None]
        for one in publishers:
            stack.callback(node.destroy_publisher, one)
        self.camera = stack.enter_context(tracker.camera(self.scene))
        for one in publishers:
            wait_for(one.get_subscription_count, f"subscription to {one.topic_name}")

    @staticmethod
    def drive(number: int):
        return np.array([0.02 * number, 0.0, 0.0])

    def next(self, pixels=None):
        """Publish one more moment, until it has been tracked; returns the number of its frame."""
        number, stamp = self.camera.number, stamp_of(self.camera.number)
        if self.moving:
            moved = transform("odom", "base", self.drive(number), about_z(self.yaw), stamp)
            self.tf.publish(TFMessage(transforms=[moved]))
        self.info.publish(calibration())
        if self.depth is not None:
            depths = np.full((HEIGHT, WIDTH), FAR, np.float32)
            x, y, w, h = map(int, self.scene.box(number))
            depths[y : y + h, x : x + w] = NEAR
            self.depth.publish(image_message(depths, "32FC1", stamp))
        shown = self.scene.frame(number) if pixels is None else pixels
        self.camera.send_until_tracked(image_message(shown, "bgr8", stamp))
        return number

    def status(self, number: int) -> TrackStatus:
        wanted = key(stamp_of(number))
        return wait_for(
            lambda: next((s for s in self.statuses if key(s.header.stamp) == wanted), None), "status"
        ).targets[0]

    def ray(self, number: int):
        """The direction to the middle of the box that was found, with 1 along the optical axis."""
        x, y, w, h = box_of(self.status(number))
        return np.array([(x + w / 2 - WIDTH / 2) / FOCAL, (y + h / 2 - HEIGHT / 2) / FOCAL, 1.0])


def of(messages, number: int):
    wanted = key(stamp_of(number))
    return wait_for(lambda: next((m for m in messages if key(m.header.stamp) == wanted), None), f"message {number}")


def place(pose):
    return np.array([pose.position.x, pose.position.y, pose.position.z])


@pytest.mark.slow
def test_positions_by_depth_in_a_fixed_frame(start):
    tracker = start(namespace="placed", parameters={"use_depth": True, "position_frame": "odom", "target_frames": True})
    tracker.activate()
    with ExitStack() as stack:
        robot = Robot(stack, tracker, depth=True, moving=True)
        received = tracker.peer.received
        poses = stack.enter_context(received(PoseWithCovarianceStamped, f"{tracker.name}/target_pose"))
        plain = stack.enter_context(received(PoseStamped, f"{tracker.name}/target_pose_stamped"))
        places = stack.enter_context(received(Detection3DArray, f"{tracker.name}/detections_3d"))
        frames = stack.enter_context(received(TFMessage, "/tf"))
        predictions = stack.enter_context(received(TargetPrediction, f"{tracker.name}/prediction"))
        robot.next()
        assert tracker.init(robot.camera.truth, "it").success
        robot.next()
        wait_for(lambda: robot.next() and poses, "a first position")
        number = robot.next()
        following = robot.next()  # what waits for something that never comes is published with the next image

        pose = of(poses, number)
        true = in_base(robot.ray(number) * NEAR) + robot.drive(number)
        assert pose.header.frame_id == "odom"
        assert place(pose.pose.pose) == pytest.approx(true, abs=0.01)
        covariance = np.array(pose.pose.covariance).reshape(6, 6)
        assert (np.linalg.eigvalsh(covariance[:3, :3]) > 0).all()
        # x is along the view: the error of a depth of 4 m is 0.004 * 4²
        assert math.sqrt(covariance[0, 0]) == pytest.approx(0.064, rel=0.2)

        one = of(plain, number)
        assert place(one.pose) == pytest.approx(true, abs=0.01)
        ahead = true - robot.drive(number)
        yaw = 2 * math.atan2(one.pose.orientation.z, one.pose.orientation.w)
        assert yaw == pytest.approx(math.atan2(ahead[1], ahead[0]), abs=0.01)

        (detection,) = of(places, number).detections
        assert detection.id == "it" and detection.header.frame_id == "odom"
        side = 48 / FOCAL * NEAR
        assert (detection.bbox.size.y, detection.bbox.size.z) == pytest.approx((side, side), rel=0.25)

        sent = [t for m in frames for t in m.transforms if t.child_frame_id == "placed/tracker/it"]
        frame = next(t for t in sent if key(t.header.stamp) == key(stamp_of(number)))
        assert frame.header.frame_id == "odom"
        assert frame.transform.translation.x == pytest.approx(true[0], abs=0.01)

        found = wait_for(
            lambda: next((p for p in predictions if key(p.measured_stamp) >= key(stamp_of(number))), None), "prediction"
        )
        assert found.target_id == "it" and found.bearing_valid and found.position_valid
        assert found.position_frame_id == "odom" and found.header.frame_id == "camera"
        assert found.position.x == pytest.approx(robot.drive(following)[0] + NEAR, abs=0.3)
        assert found.horizon >= 0
        assert (np.diag(np.array(found.position_covariance).reshape(6, 6)) > 0).all()

        # hidden: its position is continued, less and less surely, and then ends
        blank = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        hidden = [robot.next(blank) for _ in range(60)]
        lost = [n for n in hidden if robot.status(n).state == TrackStatus.LOST]
        assert lost
        end = wait_for(
            lambda: next((m for m in places if key(m.header.stamp) >= key(stamp_of(hidden[-3]))), None), "end"
        )
        assert not end.detections
        held = [m for m in poses if key(m.header.stamp) >= key(stamp_of(lost[0]))]
        spreads = [m.pose.covariance[0] for m in held]
        assert spreads and spreads == sorted(spreads)


@pytest.mark.slow
def test_positions_by_size_and_by_a_plane_in_the_frame_of_the_camera(start):
    tracker = start(namespace="grounded", parameters={"plane_frame": "ground"})
    tracker.activate()
    with ExitStack() as stack:
        robot = Robot(stack, tracker, depth=False, moving=True)
        poses = stack.enter_context(tracker.peer.received(PoseWithCovarianceStamped, f"{tracker.name}/target_pose"))
        robot.next()
        assert tracker.init(robot.camera.truth, "it").success
        assert tracker.set_parameter("plane_contact", "centre").successful
        number = robot.next()
        robot.next()
        wait_for(lambda: robot.next() and poses, "a first position")

        def low(number):
            """Whether the target is well below the horizon, so that its direction meets the ground."""
            return robot.ray(number)[1] > 0.1

        number = next(n for n in (robot.next() for _ in range(80)) if low(n))
        robot.next()
        ray = robot.ray(number)
        pose = of(poses, number)
        assert pose.header.frame_id == "camera"
        assert place(pose.pose.pose) == pytest.approx(ray / ray[1], rel=0.01)  # the ground is 1 m below

        results = tracker.set_parameters({"target_width": 0.5, "target_height": 0.5, "position_source": "size"})
        assert all(result.successful for result in results)
        assert tracker.init(robot.camera.truth, "it").success  # another object, whose place is believed at once
        number = robot.next()
        robot.next()
        width, height = box_of(robot.status(number))[2:]
        distance = np.linalg.norm(place(of(poses, number).pose.pose))
        assert distance == pytest.approx(0.5 * FOCAL / math.sqrt(width * height), rel=0.1)


@pytest.mark.slow
def test_box_is_predicted_without_a_calibration_at_the_rate_and_lead_that_are_set(start):
    tracker = start(namespace="uncalibrated")
    tracker.activate()
    with (
        tracker.camera() as camera,
        tracker.peer.received(TargetPrediction, f"{tracker.name}/prediction") as predictions,
    ):
        camera.next()
        assert tracker.init(camera.truth, "it").success
        for _ in range(5):
            camera.next()
        found = wait_for(lambda: predictions and predictions[-1], "a prediction")
        assert not found.bearing_valid and not found.position_valid
        assert math.isnan(found.azimuth) and math.isnan(found.position.x)
        assert box_of(found)[2] == pytest.approx(48, rel=0.3)

        assert tracker.set_parameter("prediction_lead", 0.5).successful
        camera.next()
        ahead = wait_for(lambda: next((p for p in predictions if p.horizon >= 0.5), None), "a prediction ahead")
        spread = np.array(ahead.bbox_covariance).reshape(4, 4)
        assert spread[0, 0] > np.array(found.bbox_covariance)[0]

        assert tracker.set_parameter("prediction_rate", 0.0).successful
        time.sleep(0.2)
        count = len(predictions)
        camera.next()
        camera.next()
        assert len(predictions) == count


@pytest.mark.slow
def test_hidden_target_is_looked_for_where_the_turning_camera_has_left_it(start):
    parameters = {"position_frame": "odom", "search_places": 0, "coast_frames": 0}
    tracker = start(namespace="turning", parameters=parameters)
    tracker.activate()
    with ExitStack() as stack:
        robot = Robot(stack, tracker, depth=False, moving=True)
        robot.next()
        assert tracker.init(robot.camera.truth, "it").success
        robot.next()
        wait_for(lambda: robot.status(robot.next()).bearing_valid, "a calibration")
        blank = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
        wait_for(lambda: robot.status(robot.next(blank)).state == TrackStatus.LOST, "a loss")

        def azimuth(number):
            x, _, w, _ = box_of(robot.status(number))
            return math.atan2(x + w / 2 - WIDTH / 2, FOCAL)

        robot.next(blank)
        before = azimuth(robot.next(blank))
        away = -1 if before > 0 else 1  # turned so that it stays in the image
        for _ in range(10):
            robot.yaw -= away * 0.02
            number = robot.next(blank)
        assert azimuth(number) - before == pytest.approx(-0.2 * away, abs=0.02)

        assert tracker.set_parameter("compensate_turns", False).successful
        robot.yaw += away * 0.2
        robot.next(blank)
        assert azimuth(robot.next(blank)) == pytest.approx(azimuth(number), abs=0.01)


@pytest.mark.slow
def test_without_its_transforms_no_position_is_published_in_another_frame_and_it_is_said_why(start):
    tracker = start(namespace="nowhere", parameters={"position_frame": "odom", "target_width": 0.5})
    tracker.activate()
    with ExitStack() as stack:
        robot = Robot(stack, tracker, depth=False, moving=False)
        places = stack.enter_context(tracker.peer.received(Detection3DArray, f"{tracker.name}/detections_3d"))
        predictions = stack.enter_context(tracker.peer.received(TargetPrediction, f"{tracker.name}/prediction"))
        robot.next()
        assert tracker.init(robot.camera.truth, "it").success
        wait_for(lambda: robot.next() and predictions, "a prediction")
        wait_for(lambda: robot.next() and predictions[-1].bearing_valid, "a bearing")
        assert predictions[-1].position_frame_id in ("", "camera")
        assert not places
        assert "no positions: no transforms connect 'camera' with 'odom'" in tracker.process.log()
