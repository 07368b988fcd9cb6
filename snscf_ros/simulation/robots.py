# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Puts a robot with a camera into a world, with the follower's settings that suit it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from snscf_ros.follow.settings import FollowSettings, default_settings
from snscf_ros.simulation.bodies import Body, Multirotor, PanTilt, Unicycle
from snscf_ros.simulation.courses import Occlusion
from snscf_ros.simulation.pinhole import Pinhole
from snscf_ros.simulation.world import World

ROBOTS = ("ground", "multirotor", "gimbal")
_VIEW = math.radians(70)  # width of the picture
_OFF = 0.2  # rad by which the robot may look beside the target at first
_CAMERA_PITCH = 0.6  # rad, of the drone's camera


@dataclass(frozen=True)
class Setup:
    """Holds a robot in its world, at the beginning, and how it is to follow."""

    world: World
    body: Body
    settings: FollowSettings


def set_up(
    robot: str,
    seed: int,
    size: tuple[int, int],
    seconds: float,
    occlusions: Sequence[Occlusion],
    scan: bool = False,
) -> Setup:
    """Set up one of `ROBOTS`.

    size: width and height of the images. seconds: of the run.
    scan: whether it looks around for a lost target.
    Raises ValueError for another robot.
    """
    if robot not in ROBOTS:
        raise ValueError(f"robot is '{robot}', must be one of {', '.join(ROBOTS)}")
    lens = Pinhole.with_view(size, _VIEW)
    rng = np.random.default_rng([seed, 9])
    off = float(rng.uniform(-_OFF, _OFF))
    if robot == "gimbal":
        world = World(seed, lens, reach=2.5, occlusions=occlusions, seconds=seconds)
        x, y = -6.0, 0.0
        away = world.course.at(0.0) - [x, y, 0.0]
        return Setup(world, PanTilt(x, y, math.atan2(away[1], away[0]) + off, 0.35), _settings(robot, scan))
    world = World(seed, lens, occlusions=occlusions, seconds=seconds)
    at, side = world.course.at(0.0), float(rng.uniform(-math.pi, math.pi))
    distance = 3.5 if robot == "ground" else 5.0
    x, y = (float(value) for value in at[:2] - distance * np.array([math.cos(side), math.sin(side)]))
    body = Unicycle(x, y, side + off) if robot == "ground" else Multirotor(x, y, side + off, pitch=_CAMERA_PITCH)
    return Setup(world, body, _settings(robot, scan, world.target_size[1]))


def _settings(robot: str, scan: bool, target_height: float = 0.0) -> FollowSettings:
    always: dict[str, Any] = {"output": robot, "enabled": True, "scan": scan}
    if robot == "gimbal":
        return default_settings(**always, distance_from="none", max_turn_rate=1.5)
    if robot == "ground":
        return default_settings(
            **always,
            distance_from="height",
            target_height=target_height,
            max_speed=1.2,
            max_reverse_speed=0.4,
        )
    return default_settings(
        **always,
        distance_from="angle",
        distance=5.0,
        camera_pitch=_CAMERA_PITCH,
        response_time=0.4,
        max_speed=1.5,
        max_reverse_speed=1.0,
    )
