# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""The simulated world agrees with its truth, whatever the camera does, and robots move as they are asked to."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from snscf_ros.simulation import Multirotor, Occlusion, PanTilt, Pinhole, Pose, Unicycle, Velocity, World

LENS = Pinhole.with_view((320, 240), math.radians(70))


def look_at(world: World, time: float, distance: float, height: float = 0.6) -> Pose:
    """A camera that looks at the target along x, from that far."""
    place = world.course.at(time) - [distance, 0, 0]
    pitch = math.atan2(height - world.target_size[1] / 2, distance)
    return Pose.looking((place[0], place[1], height), 0.0, pitch)


def pixel(pose: Pose, point) -> np.ndarray:
    x, y, z = LENS.corner_matrix @ pose.to_camera(point)
    return np.array([x / z, y / z])


def test_same_seed_time_and_pose_give_the_same_view():
    first, second, other = (World(seed, LENS, occlusions=[Occlusion(3.0)]) for seed in (4, 4, 5))
    pose = look_at(first, 2.0, 4.0)
    views = [world.view(pose, 2.0) for world in (first, second)]
    assert np.array_equal(views[0].image, views[1].image) and views[0].box == views[1].box
    assert not np.array_equal(views[0].image, other.view(pose, 2.0).image)


@pytest.mark.parametrize("height", [0.5, 3.0])
def test_box_depth_and_position_of_the_target_agree(height):
    world = World(2, LENS, look_alikes=0, turning=0.0)
    pose = look_at(world, 1.0, 5.0, height)
    view = world.view(pose, 1.0)
    x, y, w, h = view.box
    assert view.visible > 0.97
    assert (x + w / 2, y + h / 2) == pytest.approx(tuple(pixel(pose, view.target)), abs=1.0)
    ahead = float(pose.to_camera(view.target)[2])
    assert w == pytest.approx(LENS.focal * world.target_size[0] / ahead, rel=0.03)
    assert view.depth[round(y + h / 2), round(x + w / 2)] == pytest.approx(ahead, abs=0.02)
    # beyond the target is the ground or a wall, and not less than that
    assert view.depth[round(y + h / 2), round(x - 6)] > ahead + 0.5


def test_turned_camera_sees_what_the_homography_of_its_rotation_says():
    world = World(3, LENS, look_alikes=2, noise=0.0, turning=0.0)
    place = look_at(world, 0.0, 4.0).position
    before, after = (Pose.looking(place, yaw, pitch, roll) for yaw, pitch, roll in ((0.0, 0.1, 0.0), (0.08, 0.05, 0.1)))
    k = LENS.matrix
    turned = k @ after.rotation.T @ before.rotation @ np.linalg.inv(k)
    seen = world.view(after, 0.0).image
    expected = cv2.warpPerspective(world.view(before, 0.0).image, turned, LENS.size, borderValue=(255, 0, 255))
    inside = cv2.warpPerspective(np.ones(LENS.size[::-1], np.uint8), turned, LENS.size) == 1
    assert inside.mean() > 0.6
    error = np.abs(cv2.blur(seen, (3, 3)).astype(int) - cv2.blur(expected, (3, 3)))[inside].mean()
    unturned = np.abs(cv2.blur(seen, (3, 3)).astype(int) - cv2.blur(world.view(before, 0.0).image, (3, 3)))[
        inside
    ].mean()
    assert error < 0.25 * unturned


def test_occlusion_hides_the_target_for_its_time_from_every_side():
    world = World(6, LENS, look_alikes=0, occlusions=[Occlusion(5.0, 2.0)])

    def visible(time: float, heading: float, height: float) -> float:
        place = world.course.at(time) - 5.0 * np.array([math.cos(heading), math.sin(heading), 0])
        return world.view(Pose.looking((*place[:2], height), heading, math.atan2(height - 0.4, 5.0)), time).visible

    for heading, height in ((0.0, 0.6), (2.0, 2.5), (-1.5, 4.0)):
        assert [visible(time, heading, height) for time in (5.05, 6.0, 6.95)] == [0.0, 0.0, 0.0]
        assert visible(3.0, heading, height) > 0.95 and visible(9.0, heading, height) > 0.95


def test_target_out_of_the_picture_has_no_box():
    world = World(1, LENS)
    place = world.course.at(0.0) - [4, 0, 0]
    behind = world.view(Pose.looking((place[0], place[1], 0.6), math.pi), 0.0)
    beside = world.view(Pose.looking((place[0], place[1], 0.6), 1.2), 0.0)
    for view in (behind, beside):
        assert all(math.isnan(value) for value in view.box) and view.visible == 0.0


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="look_alikes"):
        World(0, LENS, look_alikes=9)
    with pytest.raises(ValueError, match="middle of the world"):
        World(0, LENS, reach=19.0)


def moved(body, asked: Velocity, seconds: float):
    for _ in range(round(seconds / 0.02)):
        body.step(0.02, asked)
    return body


def test_ground_robot_takes_over_its_velocity_with_lag():
    robot = moved(Unicycle(1.0, 2.0, math.pi / 2, lag=0.2), Velocity(forward=1.0), 0.2)
    assert robot.forward == pytest.approx(1 - math.exp(-1))
    moved(robot, Velocity(forward=1.0), 5.0)
    assert (robot.x, robot.y) == pytest.approx((1.0, 2.0 + 5.0 + 0.2 - 0.2), abs=0.05)
    moved(robot, Velocity(turn=0.5), 10.0)
    assert robot.yaw == pytest.approx(math.pi / 2 + 5.0 - 0.1, abs=0.02)


def test_drone_leans_to_accelerate_and_keeps_its_altitude():
    drone = Multirotor(0.0, 0.0, 0.0, altitude=3.0, pitch=0.5)
    level = drone.camera().rotation
    moved(drone, Velocity(forward=2.0, left=1.0), 0.2)
    axis, right = drone.camera().rotation[:, 2], drone.camera().rotation[:, 0]
    assert axis[2] < level[2, 2] - 0.02, "it leans forward, so its camera looks further down"
    assert right[2] > 0.02, "it leans to the left, so its right side is up"
    moved(drone, Velocity(forward=2.0, left=1.0), 4.0)
    assert drone.velocity == pytest.approx([2.0, 1.0], abs=1e-3)
    assert drone.camera().rotation == pytest.approx(level, abs=1e-3)
    assert drone.camera().position[2] == 3.0


def test_head_stops_at_its_stops():
    head = moved(PanTilt(0.0, 0.0, 0.0, stops=(-0.2, 0.4)), Velocity(turn=1.0, tilt=1.0), 3.0)
    assert head.tilt == 0.4 and head.pan == pytest.approx(2.9, abs=0.05)
