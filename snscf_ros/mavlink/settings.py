# Copyright 2026 snscf maintainers
# SPDX-License-Identifier: Apache-2.0

"""Declares the camera's parameters and checks them. Their default values are in `config/mavlink.yaml`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from snscf_ros import bringup
from snscf_ros.mavlink import connection

if TYPE_CHECKING:
    from rclpy.node import Node


@dataclass(frozen=True)
class CameraSettings:
    """Holds the values of all parameters. The fields are the parameters, and `DECLARATIONS` describes them."""

    tracker: str
    camera: str
    connection: str
    system_id: int
    component_id: int
    model_name: str
    video_uri: str
    video_delay: float
    target_id: str
    coasting: bool
    status_interval: float
    shortest_interval: float
    station_timeout: float
    max_message_rate: float


class Declaration(NamedTuple):
    """Describes a parameter. minimum, maximum: its range; None for no limit. empty: whether a text may be empty."""

    text: str
    minimum: float | None = None
    maximum: float | None = None
    empty: bool = False


DECLARATIONS: Mapping[str, Declaration] = {
    "tracker": Declaration("Name of the tracker node."),
    "camera": Declaration("Name of the tracker's camera; empty for its first or only one.", empty=True),
    "connection": Declaration(f"The link: {connection.HELP}."),
    "system_id": Declaration(
        "MAVLink system: that of the vehicle, or ground stations do not take the camera in.", 1, 255
    ),
    "component_id": Declaration("MAVLink component. QGroundControl looks for cameras from 100 to 105.", 1, 255),
    "model_name": Declaration("What the ground station calls the camera; at most 31 bytes."),
    "video_uri": Declaration(
        "Where the video is: rtsp://..., udp://HOST:PORT, tcp://... or mpegts://...; empty: it is set up in the ground"
        " station.",
        empty=True,
    ),
    "video_delay": Declaration(
        "Seconds by which the video on the ground station is late. Targets start on the image that came so long ago;"
        " the tracker remembers images for its own buffer_seconds.",
        0.0,
        60.0,
    ),
    "target_id": Declaration("Name of the target that ground stations start; a second start corrects the first."),
    "coasting": Declaration("Whether an uncertain target is sent as active and coasting; false: as active alone."),
    "status_interval": Declaration(
        "Seconds between two statuses where a ground station asks for the default interval.", 0.01, 60.0
    ),
    "shortest_interval": Declaration("Seconds between two statuses, at least, whatever is asked for.", 0.005, 60.0),
    "station_timeout": Declaration("Seconds without a message after which a ground station is silent.", 0.5, 600.0),
    "max_message_rate": Declaration(
        "Datagrams a second that each address may send; what is more is not read.", 1.0, 1e6
    ),
}


def default_parameters() -> dict[str, Any]:
    """Read the values in `config/mavlink.yaml`, by parameter name."""
    content = yaml.safe_load(bringup.mavlink_params_file().read_text(encoding="utf-8"))
    return dict(content["/**"]["ros__parameters"])


def declare(node: Node) -> CameraSettings:
    """Declare the parameters and read them. Raises ValueError for one that cannot be used, with its name.

    rclpy raises ParameterException for a value of another type, or one that is out of its range.
    """
    defaults = default_parameters()
    values = {
        name: node.declare_parameter(name, value, _descriptor(name, value)).value for name, value in defaults.items()
    }
    settings = CameraSettings(**values)
    check(settings)
    return settings


def check(settings: CameraSettings) -> None:
    """Raise ValueError, with its name, for a value that cannot be used."""
    values = dataclasses.asdict(settings)
    for name, declared in DECLARATIONS.items():
        value = values[name]
        if isinstance(value, str) and not value and not declared.empty:
            raise ValueError(f"{name} must not be empty")
        if declared.minimum is not None and declared.maximum is not None:
            if not declared.minimum <= value <= declared.maximum:
                raise ValueError(f"{name} is {value:g}, must be from {declared.minimum:g} to {declared.maximum:g}")
    for name, most in (("model_name", 31), ("video_uri", 159)):
        if len(values[name].encode()) > most:
            raise ValueError(f"{name} has {len(values[name].encode())} bytes, at most {most} are sent")
    connection.parse(settings.connection)


def _descriptor(name: str, value: Any) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    declared = DECLARATIONS[name]
    descriptor = ParameterDescriptor(description=declared.text, read_only=True)
    if declared.minimum is None or declared.maximum is None:
        return descriptor
    if isinstance(value, int):
        limits = IntegerRange(from_value=int(declared.minimum), to_value=int(declared.maximum), step=1)
        descriptor.integer_range = [limits]
    else:
        span = FloatingPointRange(from_value=float(declared.minimum), to_value=float(declared.maximum), step=0.0)
        descriptor.floating_point_range = [span]
    return descriptor
