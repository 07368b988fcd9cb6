# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Declares the follower's parameters and checks them. Their default values are in `config/follow.yaml`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from snscf_ros import bringup

if TYPE_CHECKING:
    from rclpy.node import Node

OUTPUTS = ("ground", "multirotor", "gimbal")
DISTANCES = ("none", "angle", "height", "position")


@dataclass(frozen=True)
class FollowSettings:
    """Holds the values of all parameters. The fields are the parameters, and `DECLARATIONS` describes them."""

    tracker: str
    camera: str
    output: str
    frame_id: str
    rate: float
    enabled: bool
    target_id: str
    max_age: float
    min_score: float
    uncertain_speed: float
    stop_time: float
    camera_yaw: float
    camera_pitch: float
    turn_gain: float
    tilt_gain: float
    drive_gain: float
    dead_band_angle: float
    dead_band_distance: float
    response_time: float
    distance_from: str
    distance: float
    target_height: float
    drive_within: float
    max_turn_rate: float
    max_turn_acceleration: float
    max_turn_jerk: float
    max_speed: float
    max_reverse_speed: float
    max_acceleration: float
    max_jerk: float
    scan: bool
    scan_after: float
    scan_rate: float
    scan_angle: float
    scan_time: float


class Declaration(NamedTuple):
    """Describes a parameter. minimum, maximum: its range; None for no limit. empty: whether a text may be empty."""

    text: str
    minimum: float | None = None
    maximum: float | None = None
    empty: bool = False


DECLARATIONS: Mapping[str, Declaration] = {
    "tracker": Declaration("Name of the tracker node."),
    "camera": Declaration(
        "Name of the tracker's camera that the robot is steered by; empty for an unnamed one.", empty=True
    ),
    "output": Declaration("What is steered: ground, multirotor or gimbal."),
    "frame_id": Declaration("Frame of the commands."),
    "rate": Declaration("Commands a second, Hz.", 10.0, 100.0),
    "enabled": Declaration("Whether it may move from the start, without being told so by ~/enable."),
    "target_id": Declaration("Target to follow; empty: the primary one at the time of enabling.", empty=True),
    "max_age": Declaration("Age of the newest image of the target in s, up to which the robot moves.", 0.02, 10.0),
    "min_score": Declaration("Score of the target from which on the robot moves, 0 to 1.", 0.0, 1.0),
    "uncertain_speed": Declaration(
        "Share of all speed limits while the target is uncertain, 0 to 1; 0: it stops then.", 0.0, 1.0
    ),
    "stop_time": Declaration("Time in s within which it has stopped when it must; 0: at once.", 0.0, 5.0),
    "camera_yaw": Declaration("Where the camera looks, rad to the left of the robot's front.", -math.pi, math.pi),
    "camera_pitch": Declaration("Where the camera looks, rad downwards.", -1.57, 1.57),
    "turn_gain": Declaration("Turn rate for each angle to the target, (rad/s)/rad.", 0.0, 20.0),
    "tilt_gain": Declaration("Tilt rate of a gimbal for each angle to the target, (rad/s)/rad.", 0.0, 20.0),
    "drive_gain": Declaration("Speed for each metre of distance too much, (m/s)/m.", 0.0, 20.0),
    "dead_band_angle": Declaration("Angle to the target in rad, up to which it is not turned for.", 0.0, 1.0),
    "dead_band_distance": Declaration("Error of the distance in m, up to which it does not drive.", 0.0, 100.0),
    "response_time": Declaration("Time in s that the robot takes to carry out a command.", 0.0, 2.0),
    "distance_from": Declaration(
        "What the distance is known from: none (it only turns), angle (the angular size when it begins is kept), height"
        " (of the target, and its angle) or position (~/detections_3d of the tracker)."
    ),
    "distance": Declaration("Horizontal distance to the target in m that is kept.", 0.1, 1000.0),
    "target_height": Declaration("Height of the target in m, for distance_from: height.", 0.0, 100.0),
    "drive_within": Declaration("Angle to the target in rad, from which on the robot only turns.", 0.05, 1.57),
    "max_turn_rate": Declaration("Fastest turn, pan and tilt, rad/s.", 0.01, 20.0),
    "max_turn_acceleration": Declaration("Of turn, pan and tilt, rad/s².", 0.01, 200.0),
    "max_turn_jerk": Declaration("Of turn, pan and tilt, rad/s³.", 0.1, 10000.0),
    "max_speed": Declaration("Fastest forward, m/s.", 0.0, 50.0),
    "max_reverse_speed": Declaration("Fastest backward, m/s; 0: it never goes backward.", 0.0, 50.0),
    "max_acceleration": Declaration("Forward and backward, m/s².", 0.01, 100.0),
    "max_jerk": Declaration("Forward and backward, m/s³.", 0.1, 10000.0),
    "scan": Declaration("Whether it looks around for a lost target. Then it turns although no target is tracked."),
    "scan_after": Declaration("Time in s for which a target is lost before it looks around.", 0.0, 60.0),
    "scan_rate": Declaration("Turn rate of looking around, rad/s.", 0.01, 20.0),
    "scan_angle": Declaration("How far it turns to each side, rad.", 0.1, 6.3),
    "scan_time": Declaration("Time in s after which it gives up.", 0.1, 3600.0),
}


def default_parameters() -> dict[str, Any]:
    """Read the values in `config/follow.yaml`, by parameter name."""
    content = yaml.safe_load(bringup.follow_params_file().read_text(encoding="utf-8"))
    return dict(content["/**"]["ros__parameters"])


def default_settings(**changed: Any) -> FollowSettings:
    """Return the default settings, but for those given. Raises ValueError for one that cannot be used."""
    settings = FollowSettings(**{**default_parameters(), **changed})
    check(settings)
    return settings


def declare(node: Node) -> FollowSettings:
    """Declare the parameters and read them. Raises ValueError for one that cannot be used, with its name.

    rclpy raises ParameterException for a value of another type.
    """
    from rcl_interfaces.msg import ParameterDescriptor

    values = {
        name: node.declare_parameter(
            name, value, ParameterDescriptor(description=DECLARATIONS[name].text, read_only=True)
        ).value
        for name, value in default_parameters().items()
    }
    settings = FollowSettings(**values)
    check(settings)
    return settings


def check(settings: FollowSettings) -> None:
    """Raise ValueError, with its name, for a value that cannot be used."""
    for name, value in dataclasses.asdict(settings).items():
        declared = DECLARATIONS[name]
        if isinstance(value, str) and not value and not declared.empty:
            raise ValueError(f"{name} must not be empty")
        if declared.minimum is not None and declared.maximum is not None:
            # NaN is not between, either
            if not declared.minimum <= value <= declared.maximum:
                raise ValueError(f"{name} is {value:g}, must be from {declared.minimum:g} to {declared.maximum:g}")
    for name, known in (("output", OUTPUTS), ("distance_from", DISTANCES)):
        if getattr(settings, name) not in known:
            raise ValueError(f"{name} is '{getattr(settings, name)}', must be one of {', '.join(known)}")
    if settings.distance_from == "height" and settings.target_height <= 0:
        raise ValueError("distance_from is height, so target_height must be given, in m")
